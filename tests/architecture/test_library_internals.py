"""What we use of other libraries beyond what they promise, library by library: these fail first when an upgrade changes it.

That of aiormq and pamqp is read with whichever version is installed: the client's environments have several.
"""

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from importlib.metadata import version
from types import CodeType
from typing import Any

import pytest


@dataclasses.dataclass(frozen=True, slots=True)
class Internal:
    """One thing that we use, which of our modules does, and how to see that it is still there."""

    name: str
    module: str
    is_there: Callable[[], bool]


def assert_all_there(library: str, internals: list[Internal]) -> None:
    for internal in internals:
        try:
            found = internal.is_there()
        except (AttributeError, ImportError, TypeError, ValueError):
            found = False
        assert found, f"{library} {version(library)} has changed {internal.name}, which {internal.module} uses"


def words(function: Any) -> set[str]:
    """Give the names that a function's code uses: attributes, globals and variables, those of functions within it too."""

    def of(code: CodeType) -> Iterator[str]:
        yield from (*code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                yield from of(constant)

    return set(of(inspect.unwrap(function).__code__))


def parameters(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def methods_of(variable: str, *functions: Any) -> set[str]:
    """Give what these functions call on a variable."""
    found: set[str] = set()
    for function in functions:
        found |= set(re.findall(rf"\b{re.escape(variable)}\.(\w+)\(", inspect.getsource(function)))
    return found


def of_aiormq() -> list[Internal]:
    from aiormq import connection as connecting
    from aiormq.abc import ChannelFrame
    from aiormq.base import Base
    from aiormq.channel import Channel

    connection, receiver = connecting.Connection, connecting.FrameReceiver
    opening, compat, publisher = (f"lockstore/amqp/{name}.py" for name in ("opening", "compat", "publisher"))
    kept = ("confirmations", "message_id_delivery_tag", "delivery_tag", "max_content_size", "number", "write_queue")
    asked = {"done", "cancelled", "set_result", "set_exception"}
    returned: Any = Channel
    on_return = returned._on_return_frame if hasattr(Channel, "_on_return_frame") else returned._on_return  # until 6.6
    answering = (Channel._confirm_delivery, on_return)
    reading = {"at_eof", "read", "readexactly"}
    return [
        Internal(
            "the parameters of Connection._rpc",
            opening,
            lambda: parameters(connection._rpc)[:3] == ["request", "writer", "frame_receiver"],
        ),
        Internal(
            "that Connection.connect asks through self._rpc", opening, lambda: "_rpc" in words(connection.connect)
        ),
        Internal("FrameReceiver.reader", opening, lambda: "reader" in words(receiver.__init__)),
        Internal(
            "the methods of a StreamReader that FrameReceiver.get_frame calls",
            "lockstore/amqp/frame_filter.py",
            lambda: methods_of("self.reader", receiver.get_frame) == reading,
        ),
        Internal(
            "that FrameReceiver reads each frame by self.get_frame",
            opening,
            lambda: methods_of("self", receiver.__anext__) == {"get_frame"},
        ),
        Internal(
            "that Connection writes what stands in write_queue, and takes it by `get`",
            opening,
            lambda: (
                "write_queue" in words(connection.__init__)
                and "write_queue" in words(connection._Connection__writer)  # type: ignore[attr-defined]
                and methods_of("self.queue", connecting.FrameGenerator.__anext__) == {"get", "task_done"}
            ),
        ),
        Internal(
            "that Connection.channel takes a number, and keeps the channel in `channels`",
            opening,
            lambda: parameters(connection.channel)[0] == "channel_number" and "channels" in words(connection.channel),
        ),
        Internal("that a channel reads from its `frames`", opening, lambda: "frames" in words(Channel._get_frame)),
        Internal(
            "that a channel reads each delivery by self._on_deliver_frame",
            "daemon/broker/connection.py",
            lambda: bool({"_on_deliver_frame", "_on_deliver"} & words(Channel._reader)),  # the daemon has 7 alone
        ),
        Internal("exception_by_code", opening, lambda: callable(connecting.exception_by_code)),
        Internal("the variable `writer` of Connection.connect", compat, lambda: "writer" in words(connection.connect)),
        Internal(
            "where a cancelled consumer is noticed",
            compat,
            lambda: (
                bool({"on_consumer_cancel_callbacks"} & words(Channel.__init__))
                or "_get_frame" in words(Channel._reader)
            ),
        ),
        *(
            Internal(f"Channel.{name}", publisher, lambda name=name: name in words(Channel.__init__))  # type: ignore[misc]
            for name in kept
        ),
        Internal(
            "the methods that Channel calls on a confirmation",
            publisher,
            lambda: methods_of("confirmation", *answering) - asked == set(),
        ),
        Internal(
            "that a returned message is found by Channel.message_id_delivery_tag",
            publisher,
            lambda: "message_id_delivery_tag" in words(on_return),
        ),
        Internal("Channel.create_future", publisher, lambda: parameters(Channel.create_future) == []),
        Internal(
            "the fields of ChannelFrame",
            compat,
            lambda: (
                {"payload", "should_close"} <= set(parameters(ChannelFrame))
                or {"channel_number", "frames"} <= set(parameters(ChannelFrame))
            ),
        ),
        Internal(
            "Base.closing",
            "lockstore/amqp/errors.py",
            lambda: hasattr(Base, "closing") or "closing" in words(Base.__init__),
        ),
    ]


def of_pamqp() -> list[Internal]:
    from pamqp import decode, exceptions, frame
    from pamqp.header import ContentHeader

    header, table = "lockstore/amqp/content_header.py", "lockstore/amqp/field_table.py"
    return [
        Internal("decode.embedded_value", table, lambda: decode.embedded_value(b"t\1") == (2, True)),
        Internal("ContentHeader.weight", header, lambda: ContentHeader(weight=1).weight == 1),
        Internal(
            "frame.unmarshal", "lockstore/amqp/opening.py", lambda: frame.unmarshal(b"\x08\0\0\0\0\0\0\xce")[1] == 0
        ),
        Internal(
            "frame.marshal", "lockstore/amqp/publisher.py", lambda: parameters(frame.marshal)[1:] == ["channel_id"]
        ),
        Internal(
            "that its errors are of one kind",
            "lockstore/amqp/compat.py",
            lambda: issubclass(exceptions.UnmarshalingException, exceptions.PAMQPException),
        ),
    ]


def of_aio_pika() -> list[Internal]:
    import aio_pika
    from aio_pika.abc import UnderlayConnection

    module = "daemon/broker/connection.py"
    connection = aio_pika.Connection
    return [
        Internal(
            "that UnderlayConnection.connect asks its make_connection",
            module,
            lambda: "make_connection" in words(UnderlayConnection.connect),
        ),
        Internal(
            "the parameters of UnderlayConnection.make_connection",
            module,
            lambda: parameters(UnderlayConnection.make_connection) == ["url", "timeout", "kwargs"],
        ),
        Internal(
            "the parameters of UnderlayConnection.connect",
            module,
            lambda: parameters(UnderlayConnection.connect)[:3] == ["url", "close_callback", "timeout"],
        ),
        Internal("UnderlayConnection.connection", module, lambda: "connection" in UnderlayConnection.__annotations__),
        *(
            Internal(f"Connection.{name}", module, lambda name=name: name in words(connection.connect))  # type: ignore[misc]
            for name in ("_on_connection_close", "_on_connected", "kwargs", "transport", "url")
        ),
        Internal(
            "Channel.get_underlay_channel", module, lambda: parameters(aio_pika.Channel.get_underlay_channel) == []
        ),
    ]


def of_redis() -> list[Internal]:
    from redis import exceptions
    from redis.asyncio.cluster import NodesManager
    from redis.asyncio.connection import AbstractConnection, ConnectionPool
    from redis.asyncio.sentinel import Sentinel

    connect, cluster, topology, trip, sentinel = (
        f"lockstore/stores/redis/connection/{name}.py"
        for name in ("connect", "cluster", "topology", "round_trip", "sentinel")
    )
    pool = ConnectionPool
    given = parameters(AbstractConnection.__init__)
    return [
        Internal("AbstractConnection._writer", topology, lambda: "_writer" in words(AbstractConnection.__init__)),
        *(
            Internal(f"AbstractConnection.{name}", topology, lambda name=name: hasattr(AbstractConnection, name))  # type: ignore[misc]
            for name in ("is_connected", "can_read", "should_reconnect", "on_connect")
        ),
        *(
            Internal(f"the option {name} of connections", connect, lambda name=name: name in given)  # type: ignore[misc]
            for name in ("redis_connect_func", "credential_provider", "socket_connect_timeout", "retry")
        ),
        Internal(
            "the parameters of AbstractConnection.send_packed_command",
            trip,
            lambda: parameters(AbstractConnection.send_packed_command) == ["command", "check_health"],
        ),
        Internal(
            "AbstractConnection.disconnect(nowait=)",
            trip,
            lambda: "nowait" in parameters(AbstractConnection.disconnect),
        ),
        Internal(
            "ConnectionPool.get_available_connection", topology, lambda: not parameters(pool.get_available_connection)
        ),
        Internal("ConnectionPool.release", topology, lambda: parameters(pool.release) == ["connection"]),
        Internal(
            "ConnectionPool.update_active_connections_for_reconnect",
            topology,
            lambda: inspect.iscoroutinefunction(pool.update_active_connections_for_reconnect),
        ),
        Internal(
            "ConnectionPool.disconnect(inuse_connections=)",
            topology,
            lambda: parameters(pool.disconnect) == ["inuse_connections"],
        ),
        *(
            Internal(f"NodesManager.{name}", cluster, lambda name=name: name in words(NodesManager.__init__))  # type: ignore[misc]
            for name in ("startup_nodes", "nodes_cache", "slots_cache")
        ),
        Internal(
            "NodesManager.initialize(last_failed_node_name=)",
            cluster,
            lambda: "last_failed_node_name" in parameters(NodesManager.initialize),
        ),
        Internal("NodesManager.move_slot", cluster, lambda: inspect.iscoroutinefunction(NodesManager.move_slot)),
        Internal("NodesManager.aclose(attr)", cluster, lambda: parameters(NodesManager.aclose) == ["attr"]),
        Internal("MovedError.slot_id", cluster, lambda: exceptions.MovedError("1 h:2").slot_id == 1),
        Internal("Sentinel.sentinels", sentinel, lambda: "sentinels" in words(Sentinel.__init__)),
        Internal(
            "that a Sentinel's pool asks discover_master",
            sentinel,
            lambda: inspect.iscoroutinefunction(Sentinel.discover_master),
        ),
    ]


def test_aiormq_is_inside_as_we_use_it() -> None:
    assert_all_there("aiormq", of_aiormq())


def test_pamqp_is_inside_as_we_use_it() -> None:
    assert_all_there("pamqp", of_pamqp())


def test_aio_pika_is_inside_as_we_use_it() -> None:
    assert_all_there("aio-pika", of_aio_pika())


def test_redis_py_is_inside_as_we_use_it() -> None:
    assert_all_there("redis", of_redis())


def test_what_has_changed_is_named_with_who_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiormq.base.Base.create_future", lambda self, weak: None)
    sentence = r"^aiormq [\d.]+ has changed Channel\.create_future, which lockstore/amqp/publisher\.py uses"
    with pytest.raises(AssertionError, match=sentence):
        assert_all_there("aiormq", of_aiormq())
