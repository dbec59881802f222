"""Stands in for the daemon: speaks its command line and its log, and does as its configuration says."""

import json
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import yaml


def main() -> None:
    config = yaml.safe_load(Path(sys.argv[sys.argv.index("--config") + 1]).read_text())
    if message := config.get("refuses_with"):
        sys.stderr.write(f"{message}\n")
        sys.exit(2)

    def drain(number: int, frame: FrameType | None) -> None:
        sys.stdout.write(json.dumps({"event": "daemon.stopped"}) + "\n")
        sys.exit(0)

    signal.signal(signal.SIGTERM, drain)
    sys.stdout.write("not JSON\n" + json.dumps({"event": "daemon.ready", "argv": sys.argv[1:]}) + "\n")
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main()
