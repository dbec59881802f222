"""What stands for `${...}` in a text of the configuration: a variable of the environment, or a credential.

A credential is a small file in the folder that `CREDENTIALS_DIRECTORY` names. systemd makes that folder for each service and
lets nobody else in (`LoadCredential=`); a container may name the folder where its secrets are mounted.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lockstore.errors import ConfigError
from lockstore.util.validation import is_one_line

__all__ = ["CREDENTIALS_VARIABLE", "CREDENTIAL_MAX_BYTES", "interpolate"]

CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
"""systemd's variable: where the credentials of this process are."""

CREDENTIAL_MAX_BYTES = 16 * 1024
"""Far more than a URL or a password; a larger file is somebody's mistake."""

_PLACEHOLDER = re.compile(r"(\$)?\$\{(?:(\w+)(?::([^{}]*))?\})?")
_CREDENTIAL_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")  # no path: none leads out of the folder


def interpolate(value: Any, environ: Mapping[str, str], place: str = "") -> Any:
    """Replace `${NAME}` and `${credential:NAME}` in every text of a section, once: what came in is not looked at again.

    `$${` stands for `${` itself.

    `place`: where the value stands, as `section.option`. Raises ConfigError with that place, and never with a secret.
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
        raise ConfigError(
            f"{place}: a ${{ that begins neither ${{NAME}} nor ${{credential:NAME}}; as a text it is written $${{"
        )
    if name is None:
        return _variable(word, environ, place)
    return _credential(word, name, environ, place)


def _variable(word: str, environ: Mapping[str, str], place: str) -> str:
    value = environ.get(word)
    if value is None:
        raise ConfigError(f"{place}: the environment has no variable {word}")
    if not value:
        raise ConfigError(f"{place}: the variable {word} is empty")
    if not is_one_line(value):
        raise ConfigError(
            f"{place}: the variable {word} must be one line of text, without a line end or other control characters"
        )
    return value


def _credential(word: str, name: str, environ: Mapping[str, str], place: str) -> str:
    if word != "credential":
        raise ConfigError(f"{place}: ${{{word}:...}} is not known; write ${{NAME}} or ${{credential:NAME}}")
    if not _CREDENTIAL_NAME.fullmatch(name):
        raise ConfigError(f"{place}: a credential's name is 1 to 128 letters, digits, dots, dashes or underscores")
    folder = environ.get(CREDENTIALS_VARIABLE)
    if not folder:
        raise ConfigError(
            f"{place}: ${{credential:{name}}} needs {CREDENTIALS_VARIABLE}, the folder of credentials; systemd sets it"
        )
    try:
        return _content(Path(folder, name))
    except ValueError as error:
        raise ConfigError(f"{place}: credential {name}: {error}") from None


def _content(file: Path) -> str:
    """Read a credential; the one line end that editors and `echo` put last is not part of it."""
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
        raise ValueError("must be one line without control characters")
    return text
