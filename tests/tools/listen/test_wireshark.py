"""tshark as an oracle: the same packets, the same figures."""

import random
import subprocess
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from mcastd.config.feed_formats import FORMATS
from mcastd.tools.listen.listener import Buffer, Listener, Packet, Side
from mcastd.tools.trace.pcapng import Writer
from tests.meter.feeds import BUILDERS, datagram
from tests.meter.feeds import Packet as Numbered

GROUP, SOURCE, PORT = IPv4Address("239.1.1.1"), IPv4Address("10.1.1.1"), 5000


def tshark(path: Path, *options: str) -> str:
    command = ("tshark", "-r", str(path), "-d", f"udp.port=={PORT},rtp", *options)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_packets_bytes_losses_and_the_longest_gap_are_those_of_tshark(tmp_path: Path) -> None:
    chance, at, path = random.Random(7), 1_700_000_000_000_000_000, tmp_path / "packets.pcapng"
    numbers = [number & 0xFFFF for number in range(65_000, 67_000) if chance.random() > 0.02]
    for place in chance.sample(range(10, len(numbers) - 10, 10), 23):
        numbers[place : place + 2] = reversed(numbers[place : place + 2])
    listener = Listener([Side(str(GROUP), PORT, sequence=FORMATS["rtp"])])
    with path.open("wb") as file:
        writer = Writer(file, "a test")
        for number in numbers:
            at += int(chance.expovariate(1 / 1e6))
            payload = BUILDERS["rtp"](Numbered(number))
            writer.packet("eth0", at, False, datagram(payload, group=GROUP, port=PORT, source=SOURCE), "")
            listener.packet(0, Packet(at, str(SOURCE), 30000, payload))
    (side,) = listener.report(1.0, at / 1e9, [Buffer()]).sides
    measured = side.sources[0].measured[0]
    assert measured.numbers is not None

    fields = tshark(path, "-T", "fields", "-e", "rtp.seq", "-e", "ip.len", "-e", "frame.time_delta").splitlines()
    sequence, lengths, deltas = zip(*(line.split("\t") for line in fields), strict=True)
    assert list(map(int, sequence)) == numbers
    assert (side.packets, side.bytes) == (len(fields), sum(map(int, lengths)))
    assert measured.longest_gap == pytest.approx(max(map(float, deltas)), abs=1e-9)
    (row,) = (line.split() for line in tshark(path, "-q", "-z", "rtp,streams").splitlines() if str(GROUP) in line)
    lost = row[row.index(next(one for one in row if one.startswith("("))) - 1]
    assert int(lost) == measured.numbers.missing + measured.numbers.awaited > 0
    assert str(len(fields)) in row
    assert (measured.numbers.duplicate, measured.numbers.resets) == (0, 0)
    assert measured.numbers.late == 23
