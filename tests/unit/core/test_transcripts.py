import pytest

from tests.rules.transcript import Rules, play, transcripts

WRITTEN = transcripts()


@pytest.mark.parametrize("name", WRITTEN)
async def test_the_rules_say_what_the_transcript_says(name: str) -> None:
    assert await play(WRITTEN[name], Rules()) == WRITTEN[name]


def test_there_are_transcripts() -> None:
    assert len(WRITTEN) >= 3
