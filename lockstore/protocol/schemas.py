"""The wire protocol for programs: JSON Schemas of the messages, and the whole of it as AsyncAPI 3. Made from the models. Pure."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from lockstore.protocol import messages
from lockstore.protocol.naming import Names

__all__ = ["asyncapi", "json_schemas"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PROTOCOL_VERSION = "1.0.0"  # of the protocol, not of the program

_SAID: dict[str, type[BaseModel]] = {
    "request": messages.RequestMessage,
    "release": messages.ReleaseMessage,
    "renew": messages.RenewMessage,
}
_TOLD: dict[str, type[BaseModel]] = {
    "queued": messages.QueuedMessage,
    "granted": messages.GrantedMessage,
    "renewed": messages.RenewedMessage,
    "released": messages.ReleasedMessage,
    "expired": messages.ExpiredMessage,
    "cancelled": messages.CancelledMessage,
    "rejected": messages.RejectedMessage,
}
_PRIVATE = ("renewed", "rejected")  # told in replies alone


def _definitions(place: str) -> dict[str, Any]:
    models = [(model, "validation") for model in (_SAID | _TOLD).values()]
    _, whole = models_json_schema(models, ref_template=f"{place}{{model}}")  # type: ignore[arg-type]
    definitions: dict[str, Any] = whole["$defs"]
    return definitions


def json_schemas() -> dict[str, Any]:
    """Give one JSON Schema that takes any message; under `$defs` is one for each."""
    place = "#/$defs/"
    return {
        "$schema": _DIALECT,
        "$id": f"urn:lockstore:protocol:{_PROTOCOL_VERSION}",
        "title": "A message of lockstore's wire protocol, version 1",
        "oneOf": [{"$ref": f"{place}{model.__name__}"} for model in (_SAID | _TOLD).values()],
        "$defs": _definitions(place),
    }


def asyncapi(names: Names) -> dict[str, Any]:
    """Give the protocol as an AsyncAPI 3 document, seen from the daemon: it receives requests, and sends the rest."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "lockstore",
            "version": _PROTOCOL_VERSION,
            "description": "Locks for conversations: first in, first out, with fencing tokens, over RabbitMQ.",
            "license": {"name": "Apache 2.0"},
        },
        "defaultContentType": "application/json",
        "channels": _channels(names),
        "operations": _operations(),
        "components": {
            "messages": {name: _message(name, model) for name, model in (_SAID | _TOLD).items()},
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
            "properties": {"traceparent": {"type": "string", "description": "W3C trace context; passed on"}},
        },
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
    }


def _channels(names: Names) -> dict[str, Any]:
    def exchange(name: str, kind: str) -> dict[str, Any]:
        of = {"name": name, "type": kind, "durable": True, "autoDelete": False}
        return {"amqp": {"is": "routingKey", "exchange": of, "bindingVersion": "0.3.0"}}

    public = [name for name in _TOLD if name not in _PRIVATE]
    return {
        "requests": {
            "address": "{partition}",
            "description": "Published with publisher confirms, and mandatory. The AMQP property reply_to names a queue of "
            "the sender's for the answers, correlation_id is echoed in them.",
            "parameters": {
                "partition": {
                    "description": "crc32 of the conversation id in UTF-8, modulo the number of partitions; 0 with one",
                    "default": "0",
                }
            },
            "messages": _referred(_SAID),
            "bindings": exchange(names.requests, "direct"),
        },
        "replies": {
            "address": None,
            "description": "The queue that the request's reply_to names.",
            "messages": _referred(_TOLD),
        },
        "events": {
            "address": "{type}.{conversation_id}",
            "description": "The public events. message_id is the same when one is told again.",
            "parameters": {
                "type": {"description": "of the event", "enum": public},
                "conversation_id": {"description": "as it is; it may itself contain dots"},
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
            "summary": _SAID[name].__doc__ or "",
            "messages": [{"$ref": f"#/channels/requests/messages/{name}"}],
            "reply": {
                "address": {
                    "location": "$message.header#/reply_to",
                    "description": "the AMQP property; without it only public events speak",
                },
                "channel": {"$ref": "#/channels/replies"},
                "messages": [{"$ref": f"#/channels/replies/messages/{answer}"} for answer in told],
            },
        }
        for name, told in answers.items()
    }
    return receiving | {
        "announce": {
            "action": "send",
            "channel": {"$ref": "#/channels/events"},
            "summary": "Tell everybody who follows.",
            "messages": [{"$ref": f"#/channels/events/messages/{name}"} for name in _TOLD if name not in _PRIVATE],
        }
    }


def _referred(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}
