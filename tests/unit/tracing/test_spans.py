"""What spans a batch makes: whose children they are, what they are linked to, what they say, and when they were."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from daemon.monitoring.batch_report import BatchReport
from daemon.tracing import spans as module
from daemon.tracing.spans import Spans
from lockstore.core.events import Cancelled, Event, Expired, Granted, Queued, Rejected, Released, Renewed
from lockstore.core.ticket import Sender
from lockstore.protocol.codec import message_id
from lockstore.protocol.naming import Names
from lockstore.stores.results import Notice

T0_NS = 1_795_000_000_000_000_000
MS = 1_000_000

TRACE, PARENT = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
OTHER_TRACE = 0x4BF92F3577B34DA6A3CE929D0E0E4736


def sender(
    trace: int = TRACE, parent: int = PARENT, *, flags: str = "01", reply_to: str | None = "bot.replies"
) -> Sender:
    return Sender(reply_to, "corr-1", None, f"00-{trace:032x}-{parent:016x}-{flags}")


def common(number: int | None = 7, to: Sender | None = None, **more: Any) -> dict[str, Any]:
    who = {"conversation_id": "user-42", "number": number, "request_id": f"r{number}", "holder": "bot-3", "at_ms": 1}
    return who | {"to": to or sender()} | more


def granted(waited_ms: int = 0, **more: Any) -> Granted:
    return Granted(**common(**more), expires_at_ms=9, waited_ms=waited_ms, behind=2)


def queued(**more: Any) -> Queued:
    return Queued(**common(**more), position=1, wait_until_ms=9)


class Recorder:
    """Spans, and the exporter that has them."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._spans = Spans(provider.get_tracer("test"), Names("ns"))

    def of(self, *events: Event, partition: int | None = 0, after_ms: float = 0) -> dict[str, ReadableSpan]:
        """Serve a batch, and give what it made by name: stored in 2 ms, announced after 5."""
        self._exporter.clear()
        notices = [Notice(event, None) for event in events]
        taken_ns = T0_NS + round(after_ms * MS)
        self._spans.served(
            BatchReport(
                partition=partition,
                messages=len(events),
                requests=0,
                notices=notices,
                store_ms=2.0,
                took_ms=5.0,
                taken_ns=taken_ns,
            )
        )
        return {span.name.removeprefix("lockstore "): span for span in self.all()}

    def all(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def context_of(span: ReadableSpan) -> tuple[int, int]:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


def parent_of(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def times_of(span: ReadableSpan) -> tuple[float, float]:
    """Give start and end in milliseconds after the first batch was taken."""
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.start_time - T0_NS) / MS, (span.end_time - T0_NS) / MS


def linked(span: ReadableSpan) -> list[tuple[int, int]]:
    return [(link.context.trace_id, link.context.span_id) for link in span.links]


def test_a_grant_stands_below_the_span_of_its_request_and_store_and_announcement_below_the_grant(
    recorder: Recorder,
) -> None:
    made = recorder.of(granted())
    assert set(made) == {"granted", "store", "announce"}
    assert {context_of(span)[0] for span in made.values()} == {TRACE}
    assert parent_of(made["granted"]) == PARENT
    assert {parent_of(made[name]) for name in ("store", "announce")} == {context_of(made["granted"])[1]}


def test_the_times_of_spans_are_those_of_the_batch(recorder: Recorder) -> None:
    made = recorder.of(granted(waited_ms=1500))
    assert times_of(made["granted"]) == (0, 5)
    assert times_of(made["store"]) == (0, 2)
    assert times_of(made["announce"]) == (2, 5)
    assert times_of(made["wait"]) == (2 - 1500, 2)


def test_a_wait_stands_beside_the_grant_and_is_linked_to_it(recorder: Recorder) -> None:
    assert set(recorder.of(queued())) == {"queued", "store", "announce"}
    made = recorder.of(granted(waited_ms=300), after_ms=300)
    assert parent_of(made["wait"]) == PARENT
    assert linked(made["wait"]) == [context_of(made["granted"])]
    assert made["wait"].status.status_code is StatusCode.UNSET


def test_a_grant_at_once_has_no_wait(recorder: Recorder) -> None:
    assert "wait" not in recorder.of(granted(waited_ms=0))


def test_a_grant_is_linked_to_the_end_of_the_ticket_before_it_in_another_trace(recorder: Recorder) -> None:
    made = recorder.of(
        Released(**common(6, sender(OTHER_TRACE)), held_ms=900, reason="holder"), granted(waited_ms=10, number=7)
    )
    assert linked(made["granted"]) == [context_of(made["released"])]
    assert context_of(made["released"])[0] == OTHER_TRACE
    (link,) = made["granted"].links
    assert link.attributes is not None
    assert dict(link.attributes) == {"lockstore.core.ticket": 6}


def test_a_grant_of_another_conversation_is_not_linked(recorder: Recorder) -> None:
    other = replace(granted(), conversation_id="user-43")
    made = recorder.of(Released(**common(6), held_ms=900, reason="holder"), other)
    assert linked(made["granted"]) == []


def test_attributes_follow_the_conventions_for_messaging(recorder: Recorder) -> None:
    event = granted(waited_ms=4)
    made = recorder.of(event, partition=3)
    assert made["store"].kind is SpanKind.CONSUMER
    assert dict(made["store"].attributes or {}) == {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "store",
        "messaging.operation.type": "process",
        "messaging.destination.name": "ns.requests.3",
        "messaging.destination.partition.id": "3",
        "messaging.batch.message_count": 1,
    }
    assert made["announce"].kind is SpanKind.PRODUCER
    assert dict(made["announce"].attributes or {}) == {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "announce",
        "messaging.operation.type": "send",
        "messaging.message.id": message_id(event),
        "messaging.destination.name": "bot.replies",
        "messaging.destination.anonymous": False,
    }
    ticket = {
        "lockstore.conversation": "user-42",
        "lockstore.core.ticket": 7,
        "lockstore.request": "r7",
        "lockstore.holder": "bot-3",
        "messaging.message.conversation_id": "corr-1",
    }
    assert dict(made["granted"].attributes or {}) == ticket | {"lockstore.waited_ms": 4, "lockstore.behind": 2}
    assert dict(made["wait"].attributes or {}) == ticket


def test_what_only_the_public_is_told_names_the_exchange(recorder: Recorder) -> None:
    made = recorder.of(granted(to=sender(reply_to=None)))
    attributes = dict(made["announce"].attributes or {})
    assert attributes["messaging.destination.name"] == "ns.events"
    assert attributes["messaging.rabbitmq.destination.routing_key"] == "granted.user-42"


def test_what_the_sweeper_does_comes_from_no_queue(recorder: Recorder) -> None:
    made = recorder.of(Expired(**common(), phase="held"), partition=None)
    assert made["store"].kind is SpanKind.INTERNAL
    assert dict(made["store"].attributes or {}) == {}


@pytest.mark.parametrize(
    ("event", "fault"),
    [
        (Rejected(**common(None), reason="invalid", detail="a secret of theirs"), "invalid"),
        (Expired(**common(), phase="held"), "expired"),
        (Released(**common(), held_ms=1, reason="forced", by="root"), "forced"),
        (Cancelled(**common(), reason="unreachable"), "unreachable"),
        (Released(**common(), held_ms=1, reason="holder"), None),
        (Cancelled(**common(), reason="requester"), None),
        (Renewed(**common(), expires_at_ms=9), None),
    ],
)
def test_what_went_wrong_is_an_error_in_one_word(event: Event, fault: str | None, recorder: Recorder) -> None:
    recorder.of(event)
    span = recorder.all()[-1]
    assert span.attributes is not None
    assert span.attributes.get("error.type") == fault
    assert (span.status.status_code is StatusCode.ERROR, span.status.description) == (fault is not None, fault)
    assert "secret" not in span.to_json()


@pytest.mark.parametrize(
    "end", [Expired(**common(), phase="waiting"), Cancelled(**common(), reason="unreachable")], ids=["expired", "gone"]
)
def test_a_wait_that_ends_without_a_grant_is_an_error_from_its_beginning_on(end: Event, recorder: Recorder) -> None:
    recorder.of(queued())
    made = recorder.of(end, partition=None, after_ms=700)
    assert times_of(made["wait"]) == (2, 702)
    assert made["wait"].status.status_code is StatusCode.ERROR


def test_a_refusal_does_not_end_a_wait(recorder: Recorder) -> None:
    recorder.of(queued())
    assert "wait" not in recorder.of(Rejected(**common(), reason="invalid", detail="still waiting"))
    assert "wait" in recorder.of(Expired(**common(), phase="waiting"))


def test_a_grant_that_is_told_again_says_so_and_waits_no_second_time(recorder: Recorder) -> None:
    made = recorder.of(replace(granted(waited_ms=300), repeated=True))
    assert "wait" not in made
    assert (made["granted"].attributes or {})["lockstore.repeated"] is True


@pytest.mark.parametrize("traceparent", [None, "", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_who_names_no_trace_has_no_spans(traceparent: str | None, recorder: Recorder) -> None:
    assert recorder.of(granted(to=Sender("bot.replies", None, None, traceparent))) == {}


def test_who_did_not_sample_the_trace_has_no_spans(recorder: Recorder) -> None:
    assert recorder.of(granted(to=sender(flags="00"))) == {}


def test_what_is_remembered_of_waits_is_bounded(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITERS_MOST", 2)
    for number in (1, 2, 3):
        recorder.of(queued(number=number))
    assert "wait" not in recorder.of(Expired(**common(1), phase="waiting"))
    assert "wait" in recorder.of(Expired(**common(3), phase="waiting"))
