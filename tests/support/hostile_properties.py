"""Properties that RabbitMQ takes from a publisher and hands on, though no AMQP library would write or read them."""

import struct

from tests.support.raw_publisher import (
    APP_ID,
    CLUSTER_ID,
    CONTENT_ENCODING,
    CONTENT_TYPE,
    CORRELATION_ID,
    HEADERS,
    MESSAGE_ID,
    TIMESTAMP,
    TYPE,
    field,
    long,
    nested,
    short,
)

NOT_UTF8 = short(b"\xff\xfe")

UNREADABLE: dict[str, tuple[dict[int, bytes], str]] = {
    "a timestamp in microseconds": ({TIMESTAMP: struct.pack(">Q", 1_700_000_000_000_000)}, "timestamp: out of range"),
    "a timestamp before 1970": ({TIMESTAMP: struct.pack(">q", -5)}, "timestamp: out of range"),
    "the last timestamp of all": ({TIMESTAMP: b"\xff" * 8}, "timestamp: out of range"),
    "an app_id that is no text": ({APP_ID: NOT_UTF8}, "app_id: is not UTF-8"),
    "a message_id that is no text": ({MESSAGE_ID: NOT_UTF8}, "message_id: is not UTF-8"),
    "a correlation_id that is no text": ({CORRELATION_ID: NOT_UTF8}, "correlation_id: is not UTF-8"),
    "a type that is no text": ({TYPE: NOT_UTF8}, "type: is not UTF-8"),
    "a content_type that is no text": ({CONTENT_TYPE: NOT_UTF8}, "content_type: is not UTF-8"),
    "a content_encoding that is no text": ({CONTENT_ENCODING: NOT_UTF8}, "content_encoding: is not UTF-8"),
    "a cluster_id that is no text": ({CLUSTER_ID: NOT_UTF8}, "cluster_id: is not UTF-8"),
    "an unpaired surrogate": ({APP_ID: short("é".encode()[:1])}, "app_id: is not UTF-8"),
    "a surrogate": ({APP_ID: short(b"\xed\xa0\x80")}, "app_id: is not UTF-8"),
    "a header in microseconds": (
        {HEADERS: long(field(b"t", b"T", struct.pack(">Q", 1_700_000_000_000_000)))},
        "headers.t: out of range",
    ),
    "a header whose name is no text": ({HEADERS: long(field(b"\xff", b"V", b""))}, "headers.\\xff: is not UTF-8"),
    "a nested name that is no text": (
        {HEADERS: long(field(b"n", b"F", long(field(b"\xff", b"V", b""))))},
        "headers.n: is not UTF-8",
    ),
    "tables nested 2,000 deep": ({HEADERS: long(short(b"n") + nested(2000))}, "headers.n: nested more than 32 deep"),
    "arrays nested 2,000 deep": (
        {HEADERS: long(short(b"n") + nested(2000, b"A"))},
        "headers.n: nested more than 32 deep",
    ),
    "more headers than anybody needs": (
        {HEADERS: long(b"".join(field(b"k%05d" % i, b"V", b"") for i in range(10_000)))},
        "headers.k00256: the headers have more than 256 fields",
    ),
}

UNUSUAL: dict[str, bytes] = {
    "a double that no float holds": field(b"k", b"d", struct.pack(">d", 1e300)),
    "a timestamp of 64 bits": field(b"k", b"T", struct.pack(">Q", 253_402_300_799_000)),
    "bytes that are no text": field(b"k", b"S", long(b"\xff\xfe")),
    "bytes": field(b"k", b"x", long(b"\xff\xfe")),
    "the least decimal": field(b"k", b"D", b"\xff\xff\xff\xff\xff"),
    "the least integer": field(b"k", b"l", b"\x80" + b"\0" * 7),
    "an unsigned integer": field(b"k", b"i", b"\xff" * 4),
    "a name of 255 bytes": field(b"k" * 255, b"V", b""),
    "no name": field(b"", b"V", b""),
    "tables 32 deep": short(b"k") + nested(32),
    "an array of everything": field(b"k", b"A", long(b"tBbB" + b"V" + b"d" + b"\x7f" * 8 + b"S" + long(b"\x80"))),
    "a copy for another queue": field(b"CC", b"A", long(b"S" + long(b"\xff"))),
    "a death that was none": field(b"x-death", b"S", long(b"x")),
    "a count that is none": field(b"x-delivery-count", b"S", long(b"x")),
    "a header that fills the frame": field(b"k", b"S", long(b"a" * 130_900)),
}
