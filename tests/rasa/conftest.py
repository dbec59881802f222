"""Rasa's own modules, from its wheel: its lock stores, endpoint configuration and class loading, without what they drag in.

The wheel is downloaded once, into the environment's folder. Where it cannot be had, these tests are skipped, and say so.
"""

import importlib
import logging
import re
import shutil
import subprocess
import sys
import types
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
WHEELS = Path(sys.prefix) / "rasa-wheel"
PINS = CHECKOUT / "requirements" / "rasa-server.txt"

STUBS = {
    "ruamel.yaml.error": ("MarkedYAMLError", "MarkedYAMLWarning", "MarkedYAMLFutureWarning"),
    "sanic.request": ("Request",),
    "rasa.shared.utils.io": (),
    "rasa.utils.io": (),
}
"""Modules that Rasa's lock stores import and do not need, with the names that are imported from them."""


@dataclass(frozen=True)
class Rasa:
    """Rasa's real modules."""

    lock_store: Any
    endpoints: Any

    def create(self, section: dict[str, Any]) -> Any:
        """Create a lock store as a Rasa server does, from the section of its endpoints.yml."""
        return self.lock_store.LockStore.create(self.endpoints.EndpointConfig.from_dict(section))


def wheel() -> Path:
    """Return the wheel, downloaded if necessary. Skips the test where that is impossible."""
    found = sorted(WHEELS.glob("rasa-*.whl"))
    if found:
        return found[-1]
    folder = WHEELS.with_name(f"rasa-wheel-{uuid.uuid4().hex}")  # another worker may download it, too
    folder.mkdir(parents=True)
    pinned = folder / "requirements.txt"
    [pin] = re.findall(r"^rasa==.*\n(?:    --hash=.*\n)+", PINS.read_text(), re.MULTILINE)
    pinned.write_text(pin)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--python-version", "3.10", "--only-binary", ":all:", "--dest", str(folder)]
    done = subprocess.run([*command, "--requirement", str(pinned)], capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"Rasa's wheel cannot be downloaded: {done.stderr.strip().splitlines()[-1]}")
    [downloaded] = folder.glob("rasa-*.whl")
    WHEELS.mkdir(parents=True, exist_ok=True)
    shutil.move(downloaded, WHEELS / downloaded.name)
    shutil.rmtree(folder)
    return WHEELS / downloaded.name


@pytest.fixture(scope="module")
def rasa() -> Iterator[Rasa]:
    """Import Rasa's modules for the tests of a file; whatever comes after it in this process finds nothing of them."""
    before = set(sys.modules)
    sys.path.insert(0, str(wheel()))
    for path, names in STUBS.items():
        _stub(path, names)
    for name in [name for name in sys.modules if name.startswith("lockstore.rasa")]:
        del sys.modules[name]  # imported without Rasa, by another test
    yield Rasa(importlib.import_module("rasa.core.lock_store"), importlib.import_module("rasa.utils.endpoints"))
    sys.path.remove(str(wheel()))
    library = logging.getLogger("lockstore")
    library.propagate = True
    library.setLevel(logging.NOTSET)
    library.handlers.clear()
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in {"rasa", "ruamel", "sanic"} or name.startswith("lockstore.rasa"):
            del sys.modules[name]


def _stub(path: str, names: tuple[str, ...]) -> None:
    parts = path.split(".")
    if parts[0] != "rasa":
        for end in range(1, len(parts)):
            sys.modules.setdefault(".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
    module = types.ModuleType(path)
    for name in names:
        setattr(module, name, type(name, (Exception,), {}))
    sys.modules[path] = module
