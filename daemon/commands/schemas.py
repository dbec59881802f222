"""What `lockstore schema` does: prints the wire protocol for programs."""

import json
from typing import Any

from daemon.commands.ends import DONE
from daemon.commands.options import SchemaFormat
from lockstore import schemas
from lockstore.wire import Names

__all__ = ["document", "run"]


def run(format_: SchemaFormat) -> int:
    """Print it, and give the exit code."""
    print(document(format_))  # noqa: T201 - that is its work
    return DONE


def document(format_: SchemaFormat) -> str:
    """Give it as text."""
    made: dict[str, Any] = schemas.json_schemas() if format_ == "jsonschema" else schemas.asyncapi(Names())
    return json.dumps(made, indent=2, ensure_ascii=False)
