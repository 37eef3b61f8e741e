"""What lost the packets is told apart by what is shown of one group: the judgement and its words together."""

from typing import Any

import pytest
from msgspec.structs import replace

from mcastd.cli import stream_losses
from mcastd.cli.layout import plain
from mcastd.net.sock_diag import UdpSocket
from mcastd.stream_status import StreamsReport
from mcastd.streams.losses import losses
from tests.streams.test_losses import JOINED, MEASURED, NUMBERS, QUIET, SOCKET, STREAM

SMALL, STOPPED = SOCKET._replace(dropped=50), SOCKET._replace(dropped=50, queued=212000)
FILTERED = {"host//reverse_path_filter": 990}
PLACE = "239.1.1.1 port 5000 from 100.15.30.5 on gre1"
SILENT = "silent: the last packet arrived 12.0s ago; the sender has stopped, or the way to this host"


def told(
    sock: UdpSocket = SOCKET,
    grown: dict[str, int] | None = None,
    stream: dict[str, Any] | None = None,
    **numbers: int,
) -> tuple[str, ...]:
    """The line of the place that lost most, if there is one, and what is below the table."""
    measured = (replace(MEASURED, numbers=replace(NUMBERS, **numbers)),)
    one = replace(STREAM, measured=measured, **stream or {})
    found = losses(QUIET | (grown or {}), [one], JOINED, [sock], children={"gre1": "c1"})
    report = StreamsReport(losses_period=60.0, losses=found, streams=(one,))
    lines = plain(stream_losses.lines(report)).splitlines()
    return tuple(line for line, row in zip(lines[2:], found, strict=False) if row.worst) + tuple(
        lines[2 + len(found) :]
    )


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (told(), ["nothing is lost"]),
        (told(SMALL), ["too small for bursts)", "most is lost by: socket 0.0.0.0 port 5000"]),
        (told(STOPPED), ["does not read, or too slowly)", "most is lost by: socket 0.0.0.0 port 5000"]),
        (
            told(grown=FILTERED, stream={"destinations": ()}),
            ["(all: the reverse path filter)", f"most is lost by: this host, {PLACE}"],
        ),
        (
            told(missing=50),
            ["began)", "most is lost before this host: 50 are missing by the sender's numbers, since measuring began"],
        ),
        (told(missing=50, grown={"esp/c1/lost": 50}), ["on the way here)", "most is lost by: ESP c1"]),
        (told(late=23), ["nothing is lost; 23 came late: the way to this host reorders packets"]),
        (told(stream={"state": "silent", "last_age": 12.0}), [SILENT, "nothing is lost"]),
    ],
)
def test_each_cause_is_told_by_a_line_of_its_own(found: tuple[str, ...], expected: list[str]) -> None:
    assert len(found) == len(expected)
    assert all(line.endswith(end) for line, end in zip(found, expected, strict=True))
