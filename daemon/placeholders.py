"""What stands for `${...}` in a text of the configuration: a variable of the environment, or a credential.

A credential is a small file in the folder that `CREDENTIALS_DIRECTORY` names. systemd makes that folder for each service and
lets nobody else in (`LoadCredential=`); a container may name the folder where its secrets are mounted.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lockstore.errors import ConfigError

__all__ = ["CREDENTIALS_VARIABLE", "CREDENTIAL_MAX_BYTES", "filled"]

CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
"""systemd's variable: where the credentials of this process are."""

CREDENTIAL_MAX_BYTES = 16 * 1024
"""Far more than a URL or a password; a larger file is somebody's mistake."""

_PLACEHOLDER = re.compile(r"\$\{(\w+)(?::([^{}]*))?\}")
_CREDENTIAL_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")  # no path: none leads out of the folder


def filled(value: Any, environ: Mapping[str, str], place: str = "") -> Any:
    """Replace `${NAME}` and `${credential:NAME}` in every text of a section, once: what came in is not looked at again.

    `place`: where the value stands, as `section.option`. Raises ConfigError with that place, and never with a secret.
    """
    if isinstance(value, dict):
        return {name: filled(item, environ, f"{place}.{name}" if place else str(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [filled(item, environ, f"{place}.{index}") for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    return _PLACEHOLDER.sub(lambda found: _meant(found[1], found[2], environ, place), value)


def _meant(word: str, name: str | None, environ: Mapping[str, str], place: str) -> str:
    if name is None:
        if word not in environ:
            raise ConfigError(f"{place}: the environment has no variable {word}")
        return environ[word]
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
    if not text.isprintable():
        raise ValueError("must be one line without control characters")
    return text
