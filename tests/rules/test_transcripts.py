from pathlib import Path

import pytest

from tests.rules.transcript import Rules, play, transcripts


@pytest.mark.parametrize("path", transcripts(), ids=lambda path: path.stem)
async def test_the_rules_say_what_the_transcript_says(path: Path) -> None:
    written = path.read_text()
    assert await play(written, Rules()) == written


def test_there_are_transcripts() -> None:
    assert len(transcripts()) >= 3
