"""Creates spans in the requesters' traces from served batches: the transition, the store, the broker, the wait.

A requester's `traceparent` determines the trace and the parent span. All spans of a batch are created when the batch is
finished, so neither answers nor the store wait for them; their times are the batch's.
"""

from typing import NamedTuple

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from daemon.monitoring.batch_report import BatchReport
from daemon.tracing.attributes import (
    error_type_of,
    event_attributes,
    publish_attributes,
    store_attributes,
    ticket_attributes,
)
from lockstore.core.events import Cancelled, Event, Expired, Granted, Queued, Released
from lockstore.protocol.codec import type_of
from lockstore.protocol.naming import Names

__all__ = ["WAITERS_MOST", "Spans"]

WAITERS_MOST = 10_000
"""Waiting tickets whose arrival is retained, for waits that end without a grant; a grant itself contains the wait."""

_NS_PER_MS = 1_000_000

_propagator = TraceContextTextMapPropagator()


class _Finished(NamedTuple):
    """A batch, and when it was taken, stored and published, in nanoseconds since the Unix epoch."""

    batch: BatchReport
    taken: int
    stored: int
    announced: int

    @classmethod
    def of(cls, batch: BatchReport) -> "_Finished":
        taken = batch.taken_ns
        stored, announced = (taken + round(ms * _NS_PER_MS) for ms in (batch.store_ms, batch.took_ms))
        return cls(batch, taken, stored, announced)


class _Predecessor(NamedTuple):
    """The ticket whose end caused the next grant."""

    number: int | None
    context: SpanContext


class Spans:
    """Creates the spans of what a daemon serves."""

    def __init__(self, tracer: Tracer, names: Names) -> None:
        """`names` are the names on the broker."""
        self._tracer = tracer
        self._names = names
        self._waiting: dict[tuple[str, int | None], int] = {}  # arrival time, in nanoseconds since the Unix epoch

    def served(self, batch: BatchReport) -> None:
        """Create the spans of one batch: an observer."""
        done = _Finished.of(batch)
        before: dict[str, _Predecessor] = {}
        for notice in batch.notices:
            if notice.event.to.traceparent:
                self._trace(notice.event, done, before)

    def _trace(self, event: Event, done: _Finished, before: dict[str, _Predecessor]) -> None:
        parent = _propagator.extract({"traceparent": event.to.traceparent or ""})
        if not get_current_span(parent).get_span_context().is_valid:
            return
        last = before.pop(event.conversation_id, None) if isinstance(event, Granted) else None
        links = [] if last is None else [Link(last.context, {"lockstore.core.ticket": last.number or 0})]
        span = self._tracer.start_span(
            f"lockstore {type_of(event)}",
            parent,
            attributes=event_attributes(event),
            links=links,
            start_time=done.taken,
        )
        if span.is_recording():
            _judge(span, event)
            self._steps(event, done, set_span_in_context(span, parent))
            self._wait(event, done, parent, span)
        span.end(done.announced)
        if isinstance(event, Released | Expired | Cancelled):
            before[event.conversation_id] = _Predecessor(event.number, span.get_span_context())

    def _steps(self, event: Event, done: _Finished, parent: Context) -> None:
        """Create the spans of its two steps: the store, and the broker."""
        kind = SpanKind.INTERNAL if done.batch.partition is None else SpanKind.CONSUMER
        store = store_attributes(done.batch, self._names)
        self._tracer.start_span("lockstore store", parent, kind, store, start_time=done.taken).end(done.stored)
        announce = publish_attributes(event, self._names)
        span = self._tracer.start_span(
            "lockstore announce", parent, SpanKind.PRODUCER, announce, start_time=done.stored
        )
        span.end(done.announced)

    def _wait(self, event: Event, done: _Finished, parent: Context, end: Span) -> None:
        """Create the span of a finished wait, linked to what ended it: normally the grant."""
        place = (event.conversation_id, event.number)
        if isinstance(event, Queued):
            self._waiting.setdefault(place, done.stored)
            if len(self._waiting) > WAITERS_MOST:
                del self._waiting[next(iter(self._waiting))]
        elif isinstance(event, Granted | Expired | Cancelled):
            since = self._waiting.pop(place, None)
            if isinstance(event, Granted) and event.waited_ms and not event.repeated:
                since = done.stored - event.waited_ms * _NS_PER_MS
            if since is not None:
                links = [Link(end.get_span_context())]
                span = self._tracer.start_span(
                    "lockstore wait", parent, attributes=ticket_attributes(event), links=links, start_time=since
                )
                _judge(span, event)
                span.end(done.stored)


def _judge(span: Span, event: Event) -> None:
    fault = error_type_of(event)
    if fault is not None:
        span.set_attribute("error.type", fault)
        span.set_status(StatusCode.ERROR, fault)
