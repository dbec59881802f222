"""Where spans go: OpenTelemetry's own environment variables say it, and this reads them with OpenTelemetry's own parts."""

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
"""How long a stop waits for spans that were not sent yet; a collector that is away must not keep us."""

_GROUP = "opentelemetry_traces_exporter"  # under which packages offer their exporters
_EXPORTERS = "OTEL_TRACES_EXPORTER"
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")  # the first one that is set counts
_OTLP = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


@contextmanager
def exported(environ: Mapping[str, str] = os.environ) -> "Iterator[Tracer]":
    """Give a tracer whose spans are sent in the background; at the end, what is left is sent within `FLUSH_S`.

    Raises ConfigError where the variables ask for what there is not.
    """
    provider = provider_of(environ)
    try:
        yield provider.get_tracer("lockstore", version("lockstore"))
    finally:
        # A thread of its own that does not keep the process: OpenTelemetry's own limits are far longer.
        ending = threading.Thread(target=provider.shutdown, daemon=True)
        ending.start()
        ending.join(FLUSH_S)


def provider_of(environ: Mapping[str, str]) -> TracerProvider:
    """Set OpenTelemetry up as its variables say. Raises ConfigError."""
    exporters = [_exporter(name, environ) for name in _names(environ)]
    ours = Resource.create({"service.name": "lockstore", "service.version": version("lockstore")})
    provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _names(environ: Mapping[str, str]) -> list[str]:
    """Name the exporters, as the variable has them; the default is OTLP, as with all that OpenTelemetry sets up."""
    given = [name.strip() for name in environ.get(_EXPORTERS, "").split(",") if name.strip()]
    return [name for name in given or ["otlp"] if name != "none"]


def _exporter(name: str, environ: Mapping[str, str]) -> SpanExporter:
    """Make an exporter, which reads the rest of the variables itself."""
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
    except Exception as error:  # noqa: BLE001 - a package that we do not know, and whatever it says of its own variables
        raise ConfigError(f"{_EXPORTERS}: the exporter {offered.name} cannot be made: {error}") from None
    return exporter
