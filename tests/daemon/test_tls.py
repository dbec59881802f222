"""RabbitMQ over TLS, with certificates made here."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import trustme

from harness import RabbitMQ
from harness.ports import free_port
from tests.conftest import DaemonMaker
from tests.support.serve import run_serve


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    stranger.cert_pem.write_to_path(str(folder / "stranger.pem"))
    for name, leaf in (("server", authority.issue_cert("127.0.0.1")), ("client", authority.issue_cert("bot@test"))):
        leaf.private_key_pem.write_to_path(str(folder / f"{name}.key"))
        leaf.cert_chain_pems[0].write_to_path(str(folder / f"{name}.pem"))
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tls_url(certificates: Path) -> AsyncIterator[str]:
    port = free_port()
    config = {
        "listeners.ssl.default": f"127.0.0.1:{port}",
        "ssl_options.cacertfile": str(certificates / "ca.pem"),
        "ssl_options.certfile": str(certificates / "server.pem"),
        "ssl_options.keyfile": str(certificates / "server.key"),
        "ssl_options.verify": "verify_peer",
        "ssl_options.fail_if_no_peer_cert": "true",
    }
    config["listeners.ssl.1"] = config.pop("listeners.ssl.default")
    async with RabbitMQ(config):
        yield f"amqps://guest:guest@127.0.0.1:{port}/"


async def test_the_daemon_speaks_tls_with_a_client_certificate(
    tls_url: str, certificates: Path, start_daemon: DaemonMaker
) -> None:
    daemon = await start_daemon(
        {
            "broker": {
                "url": tls_url,
                "ssl_ca_certs": str(certificates / "ca.pem"),
                "ssl_certfile": str(certificates / "client.pem"),
                "ssl_keyfile": str(certificates / "client.key"),
            }
        }
    )
    assert daemon.events("daemon.ready")
    argv = [sys.executable, "-m", "daemon", "exec", "c", "--config", str(daemon.config_file), "--", "echo", "held"]
    ran = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "held\n", "")


def test_a_broker_that_a_stranger_vouches_for_is_refused(tls_url: str, certificates: Path, tmp_path: Path) -> None:
    refused = run_serve({"broker": {"url": tls_url, "ssl_ca_certs": str(certificates / "stranger.pem")}}, tmp_path)
    assert refused.returncode == 2
    assert "broker.ssl_ca_certs: the server's certificate is not trusted" in refused.stderr
    assert "guest:guest" not in refused.stderr


def test_a_broker_that_demands_a_certificate_says_so(tls_url: str, certificates: Path, tmp_path: Path) -> None:
    refused = run_serve({"broker": {"url": tls_url, "ssl_ca_certs": str(certificates / "ca.pem")}}, tmp_path)
    assert refused.returncode == 2
    assert "broker.ssl_certfile: the server requires a client certificate" in refused.stderr


def test_a_file_that_is_no_certificate_is_refused(tls_url: str, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    refused = run_serve({"broker": {"url": tls_url, "ssl_ca_certs": str(tmp_path / "ca.pem")}}, tmp_path)
    assert refused.returncode == 2
    assert "broker.ssl_ca_certs" in refused.stderr
