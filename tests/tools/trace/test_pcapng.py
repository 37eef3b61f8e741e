"""Files that tshark reads without a complaint."""

import subprocess
from pathlib import Path

from scapy.layers.inet import IP, UDP
from scapy.utils import PcapNgReader

from mcastd.tools.trace.pcapng import Writer

PACKETS = [bytes(IP(src="10.44.4.6", dst="239.1.1.1") / UDP(dport=5001) / bytes(size)) for size in (0, 1, 2, 3, 1400)]
TIME = 1_700_000_000_123_456_789


def written(path: Path) -> Path:
    with path.open("wb") as file:
        writer = Writer(file, "mcastd")
        for number, packet in enumerate(PACKETS):
            writer.packet(("gre1", "eth0")[number % 2], TIME + number, number % 2 == 0, packet, f"comment {number} ü")
    return path


def test_tshark_reads_interface_direction_time_and_comment(tmp_path: Path) -> None:
    fields = ("frame.interface_name", "frame.packet_flags_direction", "frame.time_epoch", "frame.comment", "frame.len")
    command = ["tshark", "-r", str(written(tmp_path / "a.pcapng")), "-T", "fields", *(f"-e{field}" for field in fields)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "malformed" not in done.stderr.lower()
    found = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in found] == ["gre1", "eth0", "gre1", "eth0", "gre1"]
    assert [int(row[1], 0) for row in found] == [2, 1, 2, 1, 2]
    assert [row[2] for row in found] == [f"1700000000.{123456789 + number}" for number in range(5)]
    assert [row[3] for row in found] == [f"comment {number} ü" for number in range(5)]
    assert [int(row[4]) for row in found] == [len(packet) for packet in PACKETS]


def test_scapy_reads_the_same_packets(tmp_path: Path) -> None:
    with PcapNgReader(str(written(tmp_path / "a.pcapng"))) as reader:
        assert [bytes(packet) for packet in reader] == PACKETS


def test_a_file_that_was_cut_off_between_packets_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "open.pcapng"
    with path.open("wb") as file:
        writer = Writer(file, "mcastd")
        writer.packet("gre1", TIME, True, PACKETS[0], "")
        with PcapNgReader(str(path)) as reader:
            assert len(list(reader)) == 1
