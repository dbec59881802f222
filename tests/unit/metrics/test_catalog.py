"""docs/metrics.md says what the catalog says, and so do the figures."""

import pytest

from daemon.http.metrics.catalog import CATALOG, Metric
from daemon.http.poller import EVERY_S, STALE_S
from tests.docs.pages import CHECKOUT, bare, codes, tables

PAGE = CHECKOUT / "docs" / "metrics.md"
ROWS = [row for table in tables(PAGE.read_text()) if "type" in table[0] for row in table]


def test_the_page_has_every_metric_with_its_type_and_labels() -> None:
    told = {bare(row["metric"]): (row["type"], tuple(codes(row["labels"]))) for row in ROWS}
    assert told == {name: (metric.kind, metric.labels) for name, metric in CATALOG.items()}
    assert len(ROWS) == len(CATALOG)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: bare(row["metric"]))
def test_the_page_means_what_the_metric_says(row: dict[str, str]) -> None:
    assert row["meaning"].startswith(CATALOG[bare(row["metric"])].help)


def test_the_times_of_the_text_are_those_of_the_code() -> None:
    text = PAGE.read_text()
    assert f"every {EVERY_S:g} seconds" in text
    assert f"older than {STALE_S:g} seconds" in text


@pytest.mark.parametrize("metric", CATALOG.values(), ids=lambda metric: metric.name)
def test_a_name_follows_prometheus_conventions(metric: Metric) -> None:
    assert metric.name.startswith("lockstore_")
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert (metric.kind == "info") == metric.name.endswith("_info")
    assert metric.help.endswith(".")
    assert not {"le", "quantile", "conversation", "instance", "job"} & set(metric.labels)
