"""What `lockstore schema` does: prints the wire protocol for programs."""

import json
from typing import Any

from daemon.cli.exit_codes import OK
from daemon.cli.options import SchemaFormat
from lockstore.protocol import schemas
from lockstore.protocol.naming import Names

__all__ = ["document", "run"]


def run(format_: SchemaFormat) -> int:
    """Print it, and give the exit code."""
    print(document(format_))  # noqa: T201 - that is its work
    return OK


def document(format_: SchemaFormat) -> str:
    """Give it as text."""
    made: dict[str, Any] = schemas.json_schemas() if format_ == "jsonschema" else schemas.asyncapi(Names())
    return json.dumps(made, indent=2, ensure_ascii=False)
