"""The alert rules and the dashboard as files: promtool takes them, each alert is tested and has a runbook."""

import itertools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.http.metrics.catalog import CATALOG
from tests.docs.pages import CHECKOUT, anchors

ALERTS = CHECKOUT / "configs" / "prometheus-alerts.yml"
DASHBOARD = CHECKOUT / "configs" / "grafana-dashboard.json"
TESTS = Path(__file__).parent / "alerts.yml"

_METRIC = re.compile(r"\b(?:lockstore|process)_\w+")
_OF_HISTOGRAMS = re.compile(r"_(bucket|sum|count)$")


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def panels() -> list[dict[str, Any]]:
    """Give the panels that show something."""
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def shown() -> list[str]:
    """Give every query of the dashboard, as Grafana would ask it of a Prometheus that scrapes each second."""
    queries = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [query.replace("$__rate_interval", "8s").replace("$job", "lockstore") for query in queries]


def promtool(*argv: str | Path, given: str | None = None) -> subprocess.CompletedProcess[str]:
    command = ["promtool", *map(str, argv)]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=60)


def test_promtool_finds_nothing_wrong_with_the_rules() -> None:
    verdict = promtool("check", "rules", ALERTS)
    assert verdict.returncode == 0, verdict.stderr
    assert f"{len(rules())} rules found" in verdict.stdout


def test_each_alert_fires_when_it_should_and_not_otherwise() -> None:
    verdict = promtool("test", "rules", TESTS)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


def test_of_each_alert_both_cases_are_tested() -> None:
    cases = [case for test in yaml.safe_load(TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
    for fires in (True, False):
        tested = {case["alertname"] for case in cases if bool(case["exp_alerts"]) == fires}
        assert tested == {rule["alert"] for rule in rules()}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_each_alert_says_how_bad_it_is_and_where_its_runbook_is(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    page, anchor = rule["annotations"]["runbook"].split("#")
    assert anchor == rule["alert"].lower()
    assert anchor in anchors(CHECKOUT / page)
    assert rule["annotations"]["summary"]


def test_what_they_name_are_metrics_that_there_are() -> None:
    named = {
        _OF_HISTOGRAMS.sub("", name)
        for text in [*shown(), *(rule["expr"] for rule in rules())]
        for name in _METRIC.findall(text)
    }
    known = set(CATALOG) | {"process_cpu_seconds_total", "process_resident_memory_bytes"}
    assert named <= known
    # All the others are shown: a figure that no one sees is worth nothing.
    assert set(CATALOG) - named == {"lockstore_survey_complete", "lockstore_survey_age_seconds"}


def test_every_panel_says_what_it_shows_in_which_unit() -> None:
    assert len(panels()) > 20
    for panel in panels():
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all('job="$job"' in target["expr"] for target in panel["targets"])


def test_no_two_panels_lie_on_each_other() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        xs, ys = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        for cell in itertools.product(xs, ys):
            assert cell not in taken, f"{panel['title']} lies on {taken[cell]}"
            taken[cell] = panel["title"]
