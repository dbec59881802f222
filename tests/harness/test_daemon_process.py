import asyncio

import pytest

from harness import DaemonProcess, ProcessFailedError

FAKE = "tests.harness.fake_daemon"


async def test_it_is_ready_when_its_log_says_so_and_stops_at_sigterm() -> None:
    async with DaemonProcess({"lock_store": {"type": "in_memory"}}, argv=["--more"], module=FAKE) as daemon:
        (ready,) = daemon.events("daemon.ready")
        assert ready["argv"] == ["serve", "--config", str(daemon.config_file), "--more"]
        assert daemon.resident_bytes > 1_000_000
        assert daemon.cpu_s >= 0
        assert daemon.exit_code is None
        assert await daemon.stop() == 0
        assert [line["event"] for line in daemon.log_lines()] == ["daemon.ready", "daemon.stopped"]


async def test_a_restart_waits_for_the_new_run_and_keeps_the_log() -> None:
    async with DaemonProcess({}, module=FAKE) as daemon:
        first = daemon.pid
        await daemon.kill()
        await daemon.start()
        assert daemon.pid != first
        assert len(daemon.events("daemon.ready")) == 2


async def test_a_refusal_shows_its_message_and_exit_code() -> None:
    daemon = DaemonProcess({"refuses_with": "broker.url: not a URL"}, module=FAKE)
    with pytest.raises(ProcessFailedError, match=r"exit code 2 .*\nbroker\.url: not a URL"):
        await daemon.start()
    assert daemon.exit_code == 2
    await daemon.close()


def test_a_server_outlives_the_loop_that_started_it() -> None:
    daemon = DaemonProcess({}, module=FAKE)
    asyncio.run(daemon.start())
    assert daemon.running
    asyncio.run(daemon.close())
    assert daemon.exit_code == 0
