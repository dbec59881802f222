"""The configuration file, without starting anything."""

from pathlib import Path

import pytest

from daemon.config.settings import LIFETIME_VARIABLE, load
from lockstore.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    file = folder / "endpoints.yml"
    file.write_text(text)
    return file


def test_without_a_file_the_defaults_apply() -> None:
    settings = load(None)
    assert settings.lock_store == {}
    assert settings.broker.url.get_secret_value() == "amqp://guest:guest@localhost:5672/"
    assert (settings.daemon.lifetime, settings.daemon.wait, settings.daemon.max_waiting) == (60, 300, 1000)


def test_other_sections_are_left_alone(tmp_path: Path) -> None:
    file = written(tmp_path, "action_endpoint: {url: http://x}\nevent_broker: {typ: pika}\nbroker: {namespace: mine}\n")
    assert load(file).broker.namespace == "mine"


def test_empty_sections_are_defaults(tmp_path: Path) -> None:
    assert load(written(tmp_path, "lock_store: {}\nbroker: {}\ndaemon: {}\n")) == load(None)
    assert load(written(tmp_path, "{}")) == load(None)


def test_the_environment_is_filled_in(tmp_path: Path) -> None:
    file = written(tmp_path, "broker:\n  url: amqp://${USER_NAME}:${SECRET}@host/\n  partitions: ${N}\n")
    settings = load(file, {"USER_NAME": "me", "SECRET": "s3", "N": "4"})
    assert settings.broker.url.get_secret_value() == "amqp://me:s3@host/"
    assert settings.broker.partitions == 4
    assert "s3" not in repr(settings)


@pytest.mark.parametrize(("given", "lifetime"), [("", 60), ("0", 60), ("25", 25), ("2.5", 2.5)])
def test_rasas_variable_sets_the_default_lifetime(
    given: str, lifetime: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(LIFETIME_VARIABLE, given)
    assert load(None).daemon.lifetime == lifetime
    assert load(written(tmp_path, "daemon: {wait: 3}")).daemon.lifetime == lifetime
    assert load(written(tmp_path, "daemon: {lifetime: 7}")).daemon.lifetime == 7


@pytest.mark.parametrize("given", ["soon", "-5", "nan", "inf", "1_0", "1e400", " 5", "010", "5s", "\u0661", "9" * 5000])
def test_a_lifetime_variable_that_is_no_number_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIFETIME_VARIABLE, given)
    with pytest.raises(ConfigError, match="TICKET_LOCK_LIFETIME: must be a number of seconds"):
        load(None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "line 1: not valid YAML"),
        ("- a\n- b\n", "must be a mapping of sections"),
        ("daemon: {wait: -1}", "daemon.wait: must be 0 or more"),
        ("daemon: {wait: .inf}", "daemon.wait: must be a finite number"),
        ("broker: {prefetch: many}", "broker.prefetch: must be a whole number"),
        ("broker: {partitions: 0}", "broker.partitions: must be 1 or more"),
        ("lock_store: redis", "lock_store: must be a mapping of options"),
        ("lock_store: {password: '${NOWHERE}'}", "lock_store.password: the environment variable NOWHERE is not set"),
    ],
)
def test_what_is_refused_names_the_field_and_the_rule(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load(written(tmp_path, text), {})
    assert said in str(refused.value)
