"""The transcripts of docs/transcripts.md are what today's commands print."""

from tests.transcripts.replay import PAGE, stored


def test_they_are_what_the_commands_print() -> None:
    assert PAGE.read_text() == stored(), "run ./dev transcripts, or with --stored where only a view has changed"
