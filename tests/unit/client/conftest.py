"""What the unit tests of the client share: a broker inside the client's own loop."""

import pytest

from tests.client.fake_broker import FakeBroker


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
    """Stand in the place of the broker."""
    made = FakeBroker()
    monkeypatch.setattr("lockstore.client.reconnect.open_connection", made.open)
    return made
