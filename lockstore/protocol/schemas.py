"""Schemas of the protocol for other programs: JSON Schemas of the messages, and AsyncAPI 3. Generated from the models. Pure."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from lockstore.protocol.models import INBOUND_MODELS
from lockstore.protocol.naming import Names
from lockstore.protocol.outbound_models import OUTBOUND_MODELS

__all__ = ["asyncapi", "json_schemas"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PROTOCOL_VERSION = "1.0.0"  # of the protocol, not of the package

_PRIVATE = ("renewed", "rejected")  # sent as replies only


class _Plain(GenerateJsonSchema):
    """Schemas as code generators take them: a title is the name of a type, and of nothing else; null is one more type."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - the signature is the library's
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])  # a field with a default may be absent; no default is ever sent

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        if set(inner) & {"anyOf", "enum"} or "type" not in inner:
            return {"anyOf": [inner, {"type": "null"}]}
        return inner | {"type": [inner["type"], "null"]}


def _definitions(place: str) -> dict[str, Any]:
    models = [(model, "validation") for model in (INBOUND_MODELS | OUTBOUND_MODELS).values()]
    _, whole = models_json_schema(models, ref_template=f"{place}{{model}}", schema_generator=_Plain)  # type: ignore[arg-type]
    definitions: dict[str, Any] = {}
    for name, model in whole["$defs"].items():
        model["properties"] = {
            field: _with_named_enums(schema, place, definitions) for field, schema in model["properties"].items()
        }
        definitions[name] = model
    return dict(sorted(definitions.items()))


def _with_named_enums(schema: dict[str, Any], place: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with each enum replaced by a reference to its definition, which is added to the others."""
    if "anyOf" in schema:
        return schema | {"anyOf": [_with_named_enums(one, place, definitions) for one in schema["anyOf"]]}
    if "enum" not in schema:
        return schema
    definitions[schema["title"]] = schema
    return {"$ref": place + schema["title"]}


def _any_of(models: Iterable[type[BaseModel]], place: str) -> dict[str, Any]:
    return {"oneOf": [{"$ref": f"{place}{model.__name__}"} for model in models]}


def json_schemas() -> dict[str, Any]:
    """Return one JSON Schema that accepts any message; `$defs` has one for each type.

    Its `discriminator` is for validators that know it (OpenAPI's, Ajv's): they then check a message against its own type alone.
    """
    place = "#/$defs/"
    told_apart = {"discriminator": {"propertyName": "type"}}
    unions = {
        "Incoming": {
            "title": "Incoming",
            "description": "What you send.",
            **told_apart,
            **_any_of(INBOUND_MODELS.values(), place),
        },
        "Outgoing": {
            "title": "Outgoing",
            "description": "What you receive.",
            **told_apart,
            **_any_of(OUTBOUND_MODELS.values(), place),
        },
    }
    return {
        "$schema": _DIALECT,
        "$id": f"urn:lockstore:protocol:{_PROTOCOL_VERSION}",
        "title": "Message",
        "description": "Any message of lockstore's wire protocol, version 1.",
        "type": "object",
        **told_apart,
        **_any_of((INBOUND_MODELS | OUTBOUND_MODELS).values(), place),
        "$defs": _definitions(place) | unions,
    }


def asyncapi(names: Names) -> dict[str, Any]:
    """Return the protocol as an AsyncAPI 3 document from the daemon's perspective: it receives requests and sends the rest."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "lockstore",
            "version": _PROTOCOL_VERSION,
            "description": "Locks for conversations over RabbitMQ: first in, first out, with fencing tokens.",
            "license": {"name": "Apache 2.0"},
        },
        "defaultContentType": "application/json",
        "channels": _channels(names),
        "operations": _operations(),
        "components": {
            "messages": {name: _message(name, model) for name, model in (INBOUND_MODELS | OUTBOUND_MODELS).items()},
            "schemas": _with_long_numbers(_definitions("#/components/schemas/")),
        },
    }


def _with_long_numbers(definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the definitions with the format of ticket numbers, which may be as large as a time in milliseconds.

    Not for JSON Schema, whose validators may refuse formats that they do not know.
    """
    for definition in definitions.values():
        number = definition.get("properties", {}).get("ticket_number")
        if number is not None:
            number["format"] = "int64"
    return definitions


def _message(name: str, model: type[BaseModel]) -> dict[str, Any]:
    return {
        "name": name,
        "summary": model.__doc__ or "",
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "properties": {"traceparent": {"type": "string", "description": "W3C trace context; propagated"}},
        },
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
    }


def _channels(names: Names) -> dict[str, Any]:
    def exchange(name: str, kind: str) -> dict[str, Any]:
        of = {"name": name, "type": kind, "durable": True, "autoDelete": False}
        return {"amqp": {"is": "routingKey", "exchange": of, "bindingVersion": "0.3.0"}}

    public = [name for name in OUTBOUND_MODELS if name not in _PRIVATE]
    return {
        "requests": {
            "address": "{partition}",
            "description": "Published with publisher confirms, and mandatory. The AMQP property reply_to names the sender's queue "
            "for the answers, which repeat the correlation_id.",
            "parameters": {
                "partition": {
                    "description": "crc32 of the conversation id in UTF-8, modulo the number of partitions; 0 with one",
                    "default": "0",
                }
            },
            "messages": _referred(INBOUND_MODELS),
            "bindings": exchange(names.requests, "direct"),
        },
        "replies": {
            "address": None,
            "description": "The queue named in the request's reply_to.",
            "messages": _referred(OUTBOUND_MODELS),
        },
        "events": {
            "address": "{type}.{conversation_id}",
            "description": "The public events. message_id identifies repeated copies of an event.",
            "parameters": {
                "type": {"description": "type of the event", "enum": public},
                "conversation_id": {"description": "unchanged; it may contain dots"},
            },
            "messages": _referred(public),
            "bindings": exchange(names.events, "topic"),
        },
    }


def _operations() -> dict[str, Any]:
    public = [name for name in OUTBOUND_MODELS if name not in _PRIVATE]

    def messages_of(channel: str, names: Iterable[str]) -> list[dict[str, str]]:
        return [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names]

    return {
        "serve": {
            "action": "receive",
            "channel": {"$ref": "#/channels/requests"},
            "summary": "Serve requests, releases and renewals.",
            "messages": messages_of("requests", INBOUND_MODELS),
            "reply": {
                "address": {
                    "location": "$message.header#/reply_to",
                    "description": "the AMQP property; without it only public events are sent",
                },
                "channel": {"$ref": "#/channels/replies"},
                "messages": messages_of("replies", OUTBOUND_MODELS),
            },
        },
        "answer": {
            "action": "send",
            "channel": {"$ref": "#/channels/replies"},
            "summary": "Answer the sender. A request has several answers, as queued, granted and released.",
            "messages": messages_of("replies", OUTBOUND_MODELS),
        },
        "announce": {
            "action": "send",
            "channel": {"$ref": "#/channels/events"},
            "summary": "Publish to all subscribers.",
            "messages": messages_of("events", public),
        },
    }


def _referred(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}
