"""Writing a configuration file and loading it, as the daemon does at its start."""

from pathlib import Path

import pytest

from daemon.config.settings import Settings, load
from lockstore.errors import ConfigError
from lockstore.factory import create_store
from lockstore.stores.redis.connection.options import RedisOptions

SECRET = "Geheim"


def write(folder: Path, content: str | bytes) -> Path:
    """Write a file, as text in UTF-8 or as the bytes that are given."""
    file = folder / "endpoints.yml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return file


def load_whole(file: Path, environ: dict[str, str] | None = None) -> Settings:
    """Load a file and build its store, so that every option has been looked at."""
    settings = load(file, environ or {})
    create_store(settings.lock_store, settings.daemon.limits)
    return settings


def redis_options(folder: Path, lines: str, environ: dict[str, str] | None = None) -> RedisOptions:
    """Give the options of a Redis store whose section has these lines."""
    indented = "".join(f"  {line}\n" for line in lines.splitlines())
    settings = load_whole(write(folder, f"lock_store:\n  type: redis\n{indented}"), environ)
    return RedisOptions.model_validate({name: value for name, value in settings.lock_store.items() if name != "type"})


def refusal(folder: Path, content: str | bytes, environ: dict[str, str] | None = None) -> str:
    """Give the message with which a file is refused, without its path."""
    file = write(folder, content)
    with pytest.raises(ConfigError) as refused:
        load_whole(file, environ)
    said = str(refused.value)
    assert "\n" not in said
    assert SECRET.lower() not in said.lower()
    return said.replace(str(file), "FILE")
