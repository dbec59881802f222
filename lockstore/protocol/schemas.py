"""Schemas of the protocol for other programs: JSON Schemas of the messages, and AsyncAPI 3. Generated from the models. Pure."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from lockstore.protocol.models import INBOUND_MODELS, OUTBOUND_MODELS
from lockstore.protocol.naming import Names

__all__ = ["asyncapi", "json_schemas"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PROTOCOL_VERSION = "1.0.0"  # of the protocol, not of the package

_PRIVATE = ("renewed", "rejected")  # sent as replies only


def _definitions(place: str) -> dict[str, Any]:
    models = [(model, "validation") for model in (INBOUND_MODELS | OUTBOUND_MODELS).values()]
    _, whole = models_json_schema(models, ref_template=f"{place}{{model}}")  # type: ignore[arg-type]
    definitions: dict[str, Any] = whole["$defs"]
    return definitions


def json_schemas() -> dict[str, Any]:
    """Return one JSON Schema that accepts any message; `$defs` has one for each type."""
    place = "#/$defs/"
    return {
        "$schema": _DIALECT,
        "$id": f"urn:lockstore:protocol:{_PROTOCOL_VERSION}",
        "title": "A message of lockstore's wire protocol, version 1",
        "oneOf": [{"$ref": f"{place}{model.__name__}"} for model in (INBOUND_MODELS | OUTBOUND_MODELS).values()],
        "$defs": _definitions(place),
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
            "schemas": _definitions("#/components/schemas/"),
        },
    }


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
    answers = {
        "request": ("queued", "granted", "rejected", "released", "expired", "cancelled"),
        "release": ("released", "cancelled", "rejected"),
        "renew": ("renewed", "rejected"),
    }
    receiving = {
        name: {
            "action": "receive",
            "channel": {"$ref": "#/channels/requests"},
            "summary": INBOUND_MODELS[name].__doc__ or "",
            "messages": [{"$ref": f"#/channels/requests/messages/{name}"}],
            "reply": {
                "address": {
                    "location": "$message.header#/reply_to",
                    "description": "the AMQP property; without it only public events are sent",
                },
                "channel": {"$ref": "#/channels/replies"},
                "messages": [{"$ref": f"#/channels/replies/messages/{answer}"} for answer in types],
            },
        }
        for name, types in answers.items()
    }
    return receiving | {
        "announce": {
            "action": "send",
            "channel": {"$ref": "#/channels/events"},
            "summary": "Publish to all subscribers.",
            "messages": [
                {"$ref": f"#/channels/events/messages/{name}"} for name in OUTBOUND_MODELS if name not in _PRIVATE
            ],
        }
    }


def _referred(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}
