"""From a batch that was served to spans in the traces of those who asked: what was told, the store, the broker, the wait.

A requester's `traceparent` says which trace, and below which span. All spans of a batch are made at once when it is done with,
so neither answers nor the store wait for them; their times are the batch's.
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
from daemon.tracing.attributes import announcing, fault_of, storing, telling, whose
from lockstore.core.events import Cancelled, Event, Expired, Granted, Queued, Released
from lockstore.protocol.codec import type_of
from lockstore.protocol.naming import Names

__all__ = ["WAITERS_MOST", "Spans"]

WAITERS_MOST = 10_000
"""Waits whose beginning is remembered, for those that end without a grant; a grant itself says how long it took."""

_NS_PER_MS = 1_000_000

_propagator = TraceContextTextMapPropagator()


class _Done(NamedTuple):
    """A batch, and when it was taken, stored and announced, in nanoseconds since the epoch."""

    batch: BatchReport
    taken: int
    stored: int
    announced: int

    @classmethod
    def of(cls, batch: BatchReport) -> "_Done":
        taken = batch.taken_ns
        stored, announced = (taken + round(ms * _NS_PER_MS) for ms in (batch.store_ms, batch.took_ms))
        return cls(batch, taken, stored, announced)


class _Before(NamedTuple):
    """The ticket whose end gave the next one its turn."""

    number: int | None
    context: SpanContext


class Spans:
    """Makes the spans of what a daemon serves."""

    def __init__(self, tracer: Tracer, names: Names) -> None:
        """Take what makes spans, and what things are called on the broker."""
        self._tracer = tracer
        self._names = names
        self._waiting: dict[tuple[str, int | None], int] = {}  # since when, in nanoseconds since the epoch

    def served(self, batch: BatchReport) -> None:
        """Make the spans of one batch: an observer."""
        done = _Done.of(batch)
        before: dict[str, _Before] = {}
        for notice in batch.notices:
            if notice.event.to.traceparent:
                self._trace(notice.event, done, before)

    def _trace(self, event: Event, done: _Done, before: dict[str, _Before]) -> None:
        parent = _propagator.extract({"traceparent": event.to.traceparent or ""})
        if not get_current_span(parent).get_span_context().is_valid:
            return
        last = before.pop(event.conversation_id, None) if isinstance(event, Granted) else None
        links = [] if last is None else [Link(last.context, {"lockstore.core.ticket": last.number or 0})]
        span = self._tracer.start_span(
            f"lockstore {type_of(event)}", parent, attributes=telling(event), links=links, start_time=done.taken
        )
        if span.is_recording():
            _judge(span, event)
            self._steps(event, done, set_span_in_context(span, parent))
            self._wait(event, done, parent, span)
        span.end(done.announced)
        if isinstance(event, Released | Expired | Cancelled):
            before[event.conversation_id] = _Before(event.number, span.get_span_context())

    def _steps(self, event: Event, done: _Done, parent: Context) -> None:
        """Make the two parts of what was done: in the store, and at the broker."""
        kind = SpanKind.INTERNAL if done.batch.partition is None else SpanKind.CONSUMER
        store = storing(done.batch, self._names)
        self._tracer.start_span("lockstore store", parent, kind, store, start_time=done.taken).end(done.stored)
        announce = announcing(event, self._names)
        span = self._tracer.start_span(
            "lockstore announce", parent, SpanKind.PRODUCER, announce, start_time=done.stored
        )
        span.end(done.announced)

    def _wait(self, event: Event, done: _Done, parent: Context, end: Span) -> None:
        """Make the span of a wait that is over, linked to what ended it: the grant, if all went well."""
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
                    "lockstore wait", parent, attributes=whose(event), links=links, start_time=since
                )
                _judge(span, event)
                span.end(done.stored)


def _judge(span: Span, event: Event) -> None:
    fault = fault_of(event)
    if fault is not None:
        span.set_attribute("error.type", fault)
        span.set_status(StatusCode.ERROR, fault)
