"""Interpolates `${...}` in the configuration: environment variables and credentials.

A credential is a small file in the directory named by `CREDENTIALS_DIRECTORY`. systemd creates that directory for each
service, readable by this service only (`LoadCredential=`); a container may point the variable to its mounted secrets.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lockstore.errors import ConfigError
from lockstore.util.text import is_one_line

__all__ = ["CREDENTIALS_VARIABLE", "CREDENTIAL_MAX_BYTES", "interpolate"]

CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
"""systemd's variable for the directory with this process's credentials."""

CREDENTIAL_MAX_BYTES = 16 * 1024
"""Far larger than a URL or a password; a larger file must be a mistake."""

_PLACEHOLDER = re.compile(r"(\$)?\$\{(?:(\w+)(?::([^{}]*))?\})?")
_CREDENTIAL_NAME = re.compile(
    r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}"
)  # not a path, so that it cannot leave the directory


def interpolate(value: Any, environ: Mapping[str, str], place: str = "") -> Any:
    """Replace `${NAME}` and `${credential:NAME}` in every text of a section; replacements are not interpolated again.

    `$${` is an escaped `${`.

    `place`: the location of the value, as `section.option`. Raises ConfigError with that location, never with a secret.
    """
    if isinstance(value, dict):
        return {
            name: interpolate(item, environ, f"{place}.{name}" if place else str(name)) for name, item in value.items()
        }
    if isinstance(value, list):
        return [interpolate(item, environ, f"{place}.{index}") for index, item in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value
    return _PLACEHOLDER.sub(lambda found: _meant(found, environ, place), value)


def _meant(found: re.Match[str], environ: Mapping[str, str], place: str) -> str:
    escaped, word, name = found.groups()
    if escaped:
        return found[0][1:]
    if word is None:
        raise ConfigError(f"{place}: ${{ must begin ${{NAME}} or ${{credential:NAME}}; write a literal ${{ as $${{")
    if name is None:
        return _variable(word, environ, place)
    return _credential(word, name, environ, place)


def _variable(word: str, environ: Mapping[str, str], place: str) -> str:
    value = environ.get(word)
    if value is None:
        raise ConfigError(f"{place}: the environment variable {word} is not set")
    if not value:
        raise ConfigError(f"{place}: the environment variable {word} is empty")
    if not is_one_line(value):
        raise ConfigError(f"{place}: the environment variable {word} must be a single line without control characters")
    return value


def _credential(word: str, name: str, environ: Mapping[str, str], place: str) -> str:
    if word != "credential":
        raise ConfigError(f"{place}: ${{{word}:...}} is unknown; write ${{NAME}} or ${{credential:NAME}}")
    if not _CREDENTIAL_NAME.fullmatch(name):
        raise ConfigError(f"{place}: a credential's name is 1 to 128 letters, digits, dots, dashes or underscores")
    folder = environ.get(CREDENTIALS_VARIABLE)
    if not folder:
        raise ConfigError(
            f"{place}: ${{credential:{name}}} needs {CREDENTIALS_VARIABLE}, the directory of credentials, which systemd sets"
        )
    try:
        return _content(Path(folder, name))
    except ValueError as error:
        raise ConfigError(f"{place}: credential {name}: {error}") from None


def _content(file: Path) -> str:
    """Read a credential, without the final line end that editors and `echo` add."""
    try:
        with file.open("rb") as opened:
            content = opened.read(CREDENTIAL_MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot be read from {file.parent}: {error.strerror}") from None
    if len(content) > CREDENTIAL_MAX_BYTES:
        raise ValueError(f"larger than {CREDENTIAL_MAX_BYTES} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError("is empty")
    if not is_one_line(text):
        raise ValueError("must be a single line without control characters")
    return text
