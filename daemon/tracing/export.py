"""Exports spans as configured by OpenTelemetry's environment variables, with OpenTelemetry's own components."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points, version
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from lockstore.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

__all__ = ["FLUSH_S", "exported", "provider_of"]

FLUSH_S = 3.0
"""How long a shutdown waits for unsent spans; an unreachable collector must not delay it."""

_GROUP = "opentelemetry_traces_exporter"  # the entry point group of exporters
_EXPORTERS = "OTEL_TRACES_EXPORTER"
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")  # the first one that is set is used
_OTLP = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


@contextmanager
def exported(environ: Mapping[str, str] = os.environ) -> "Iterator[Tracer]":
    """Yield a tracer whose spans are sent in the background. On exit, remaining spans are sent within `FLUSH_S`.

    Raises ConfigError if the variables name an unknown exporter or protocol.
    """
    provider = provider_of(environ)
    try:
        yield provider.get_tracer("lockstore", version("lockstore"))
    finally:
        # A daemon thread, which does not keep the process alive: OpenTelemetry's own timeouts are far longer.
        ending = threading.Thread(target=provider.shutdown, daemon=True)
        ending.start()
        ending.join(FLUSH_S)


def provider_of(environ: Mapping[str, str]) -> TracerProvider:
    """Create the provider that the variables describe. Raises ConfigError."""
    exporters = [_exporter(name, environ) for name in _names(environ)]
    ours = Resource.create({"service.name": "lockstore", "service.version": version("lockstore")})
    provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _names(environ: Mapping[str, str]) -> list[str]:
    """Return the exporters that the variable lists; the default is OTLP, as in OpenTelemetry."""
    given = [name.strip() for name in environ.get(_EXPORTERS, "").split(",") if name.strip()]
    return [name for name in given or ["otlp"] if name != "none"]


def _exporter(name: str, environ: Mapping[str, str]) -> SpanExporter:
    """Create an exporter, which reads its own variables."""
    if name == "otlp":
        variable = next((each for each in _PROTOCOLS if environ.get(each)), _PROTOCOLS[-1])
        protocol = environ.get(variable) or "http/protobuf"
        if protocol not in _OTLP:
            raise ConfigError(f"{variable}: must be one of {', '.join(_OTLP)}, not {protocol!r}")
        name = _OTLP[protocol]
    offered = list(entry_points(group=_GROUP, name=name))
    if not offered:
        raise ConfigError(f"{_EXPORTERS}: no installed package offers the exporter {name}")
    return _made(offered[0])


def _made(offered: EntryPoint) -> SpanExporter:
    try:
        exporter: SpanExporter = offered.load()()
    except Exception as error:  # noqa: BLE001 - an unknown package may raise anything about its own variables
        raise ConfigError(f"{_EXPORTERS}: the exporter {offered.name} cannot be created: {error}") from None
    return exporter
