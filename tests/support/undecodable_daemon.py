"""The real daemon with a decoder that fails: `python -m tests.support.undecodable_daemon serve --config FILE`.

`lockstore_test_fault` in the environment says where, for every message whose app_id is MARKER: `header`: while the content header is
rewritten; `decode`: in pamqp, though the header was found readable; `method`: in pamqp, over a delivery's method, where MARKER is
the routing key; `reader`: in the reader itself, which ends the connection; `channel`: in the reader of the channel, which ends that.
"""

import os
from typing import Any

import pamqp.frame
from aiormq.channel import Channel
from aiormq.connection import FrameReceiver
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from daemon.cli import app as cli
from lockstore.amqp import content_header, frame_filter
from tests.support.marker import FAULT, MARKER


def fail(*_: Any) -> Any:
    raise ZeroDivisionError("nobody thought of it")


def in_header() -> None:
    usual = content_header.readable

    def readable(payload: bytes, body_limit: int) -> tuple[bytes, int | None]:
        return fail() if MARKER.encode() in payload else usual(payload, body_limit)

    frame_filter.readable = readable  # type: ignore[attr-defined]


def in_pamqp(kind: type) -> None:
    usual = pamqp.frame.unmarshal

    def unmarshal(data: bytes) -> Any:
        found = usual(data)
        return fail() if MARKER.encode() in data and isinstance(found[2], kind) else found

    pamqp.frame.unmarshal = unmarshal  # type: ignore[assignment]


def in_reader() -> None:
    usual = FrameReceiver.__anext__

    async def following(receiver: FrameReceiver) -> Any:
        found = await usual(receiver)
        frame = found[2]
        return fail() if isinstance(frame, ContentHeader) and frame.properties.app_id == MARKER else found

    FrameReceiver.__anext__ = following  # type: ignore[assignment,method-assign]


def in_channel() -> None:
    usual = Channel._read_content

    async def read(channel: Channel, frame: Any, header: ContentHeader) -> Any:
        return fail() if header.properties.app_id == MARKER else await usual(channel, frame, header)

    Channel._read_content = read  # type: ignore[assignment,method-assign]


PLACES = {
    "header": in_header,
    "decode": lambda: in_pamqp(ContentHeader),
    "method": lambda: in_pamqp(Basic.Deliver),
    "reader": in_reader,
    "channel": in_channel,
}

if __name__ == "__main__":
    PLACES[os.environ[FAULT]]()
    cli.main()
