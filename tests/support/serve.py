"""The daemon run to its end, for configurations that stop the start."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from harness.daemon_process import without_http


def run_serve(config: dict[str, Any], folder: Path, command: str = "serve") -> subprocess.CompletedProcess[str]:
    """Run `serve`, or another command, with a configuration until it ends by itself, and give its exit code and what it said."""
    file = folder / "endpoints.yml"
    file.write_text(yaml.safe_dump(without_http(config)))
    argv = [sys.executable, "-m", "daemon", command, "--endpoints", str(file)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
