"""The command line as a whole: what it costs to start, what the shell completes, and words that are said in two places."""

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from daemon.cli import options
from daemon.monitoring import log_setup as logs
from lockstore.stores.redis import purge

LOCKSTORE = (sys.executable, "-m", "daemon")


def lockstore(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LOCKSTORE, *argv], capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **env}
    )


def with_path() -> dict[str, str]:
    """Give an environment in which `lockstore` is found as it is installed."""
    return {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}


def test_the_shell_sees_the_commands_without_importing_what_they_need() -> None:
    look = "import sys, daemon.cli.app; print(*{name.partition('.')[0] for name in sys.modules})"
    seen = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(seen.stdout.split())
    assert {"daemon", "typer"} <= loaded
    assert not loaded & {
        "aio_pika",
        "aiohttp",
        "aiormq",
        "asyncio",
        "lockstore",
        "redis",
        "structlog",
        "uvloop",
        "yaml",
    }


def test_a_daemon_that_listens_nowhere_does_not_wait_for_imports_that_it_does_not_need(tmp_path: Path) -> None:
    program = """
import sys
from daemon.cli.app import app
try:
    app(["serve", "--config", sys.argv[1]])
except SystemExit as ended:
    print(ended.code, *{name.partition(".")[0] for name in sys.modules})
"""
    argv = [sys.executable, "-c", program, str(tmp_path / "none.yml")]
    seen = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    code, *loaded = seen.stdout.split()
    assert code == "2"  # the file is missing, which is found when all is imported
    assert {"structlog", "aio_pika", "pydantic"} <= {*loaded}
    assert not {*loaded} & {"aiohttp", "boto3", "jinja2", "prometheus_client", "rich"}


@pytest.mark.parametrize("module", ["daemon.cli.exec.run", "daemon.cli.watch", "daemon.config.settings"])
def test_what_reads_the_configuration_and_no_store_does_not_import_redis(module: str) -> None:
    look = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    seen = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    assert "lockstore" in seen.stdout.split()
    assert not set(seen.stdout.split()) & {"redis", "hiredis", "opentelemetry", "boto3"}


def test_the_redis_stores_say_which_extra_they_need() -> None:
    for absent in ("redis", "pydantic"):
        look = f"import sys; sys.modules['{absent}'] = None; import lockstore.stores.redis"
        seen = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=False, timeout=60)
        assert "ImportError: the Redis lock stores need the extra redis: pip install" in seen.stderr


def test_choices_are_those_of_the_modules_that_they_belong_to() -> None:
    assert get_args(options.LogLevel) == get_args(logs.LogLevel)
    assert get_args(options.StoreName) == get_args(purge.StoreName)


BASH = """
source <(_LOCKSTORE_COMPLETE=source_bash lockstore)
completed() {
    COMP_WORDS=("$@")
    COMP_CWORD=$(($# - 1))
    _lockstore_completion lockstore
    echo "${COMPREPLY[@]}"
}
completed lockstore ""
completed lockstore pur
completed lockstore purge --st
completed lockstore purge --store ""
"""


def test_bash_completes_commands_options_and_choices() -> None:
    run = subprocess.run(["bash", "-c", BASH], capture_output=True, text=True, check=True, timeout=60, env=with_path())
    assert run.stderr == ""
    commands, started, option, choices = (set(line.split()) for line in run.stdout.splitlines())
    assert commands >= {"serve", "purge", "repartition"}
    assert started == {"purge"}
    assert option == {"--store"}
    assert choices == {"redis", "concurrent_redis"}


@pytest.mark.parametrize(
    ("shell", "registers", "protocol"),
    [
        pytest.param("zsh", "compdef _lockstore_completion lockstore", {}, id="zsh"),
        pytest.param("fish", "complete --command lockstore", {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}, id="fish"),
    ],
)
def test_other_shells_have_a_script_and_are_answered_as_it_asks(
    shell: str, registers: str, protocol: dict[str, str]
) -> None:
    def asked(what: str, **env: str) -> str:
        env = with_path() | {"_LOCKSTORE_COMPLETE": f"{what}_{shell}", **env}
        return subprocess.run(["lockstore"], capture_output=True, text=True, check=False, timeout=60, env=env).stdout

    assert registers in asked("source")
    assert "purge" in asked("complete", _TYPER_COMPLETE_ARGS="lockstore pur", **protocol)


def test_the_environment_may_name_the_file() -> None:
    refused = lockstore("purge", LOCKSTORE_CONFIG="/no/such/file.yml")
    assert refused.returncode == 2
    assert refused.stderr == "lockstore purge: /no/such/file.yml: cannot be read: No such file or directory\n"
