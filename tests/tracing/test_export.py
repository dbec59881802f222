"""Where spans go, and what is said when they cannot."""

import sys
import threading
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider

from daemon.tracing import export
from daemon.tracing.export import exported, provider_of
from daemon.tracing.start import spans_of
from lockstore.errors import ConfigError
from lockstore.protocol.naming import Names
from tests.conftest import DaemonMaker
from tests.support.bot import Bot

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_without_the_extra_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("daemon.tracing.") and name != "daemon.tracing.start"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with (
        pytest.raises(ConfigError, match=r"daemon.tracing: OpenTelemetry is not installed .*lockstore-daemon\[otel\]"),
        spans_of(Names()),
    ):
        pass


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER: no installed package offers the exporter zipkin"),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "smoke"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: must be one of http/protobuf, grpc, not",
        ),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "x"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: must be one of"),
    ],
)
def test_an_exporter_that_is_not_there_is_refused_by_name(environ: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        provider_of(environ)


def test_the_service_is_called_lockstore_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    monkeypatch.delenv("OTEL_RESOURCE_ATTRIBUTES", raising=False)
    nowhere = {"OTEL_TRACES_EXPORTER": "none"}
    assert provider_of(nowhere).resource.attributes["service.name"] == "lockstore"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "locks-of-blue")
    assert provider_of(nowhere).resource.attributes["service.name"] == "locks-of-blue"


def test_a_collector_that_takes_nothing_does_not_keep_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()

    class Stuck(TracerProvider):
        def shutdown(self) -> None:
            never.wait()

    monkeypatch.setattr(export, "FLUSH_S", 0.01)
    monkeypatch.setattr(export, "provider_of", lambda _: Stuck(shutdown_on_exit=False))
    with exported({}):
        pass  # the test ends: that is what it shows
    assert not never.is_set()
    never.set()


class Collector:
    """What an OpenTelemetry collector hears, over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []

    async def take(self, request: web.Request) -> web.Response:
        heard = ExportTraceServiceRequest.FromString(await request.read())
        self.spans += [span for each in heard.resource_spans for scope in each.scope_spans for span in scope.spans]
        return web.Response()


async def test_a_daemon_sends_the_spans_of_a_hand_over_to_a_collector(
    config: dict[str, Any], start_daemon: DaemonMaker, bot: Bot
) -> None:
    collector = Collector()
    app = web.Application()
    app.add_routes([web.post("/v1/traces", collector.take)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    config["daemon"]["tracing"] = True
    endpoint = site.name
    daemon = await start_daemon(config, env={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})

    first = await bot.lock("c")
    await bot.send(
        b'{"type":"request","conversation_id":"c","request_id":"second"}', headers={"traceparent": TRACEPARENT}
    )
    await bot.expect("queued", request_id="second")
    await bot.release("c", ticket_number=first["ticket_number"])
    await bot.expect("granted", request_id="second")
    await daemon.stop()  # what was not sent yet is sent now
    await runner.cleanup()

    assert daemon.exit_code == 0
    names = sorted(span.name.removeprefix("lockstore ") for span in collector.spans)
    assert names == ["announce", "announce", "granted", "queued", "store", "store", "wait"]
    assert {span.trace_id.hex() for span in collector.spans} == {TRACEPARENT.split("-")[1]}
    by_name = {span.name: span for span in collector.spans}
    assert by_name["lockstore granted"].parent_span_id.hex() == TRACEPARENT.split("-")[2]
    assert by_name["lockstore wait"].links[0].span_id == by_name["lockstore granted"].span_id
