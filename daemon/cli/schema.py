"""`lockstore schema`: prints the protocol's schemas for other programs."""

import json
from typing import Any

from daemon.cli.exit_codes import OK
from daemon.cli.options import SchemaFormat
from lockstore.protocol import schemas
from lockstore.protocol.naming import Names

__all__ = ["document", "run"]


def run(format_: SchemaFormat) -> int:
    """Print the schema, and return the exit code."""
    print(document(format_))  # noqa: T201 - standard output is its purpose
    return OK


def document(format_: SchemaFormat) -> str:
    """Return the schema as text."""
    made: dict[str, Any] = schemas.json_schemas() if format_ == "jsonschema" else schemas.asyncapi(Names())
    return json.dumps(made, indent=2, ensure_ascii=False)
