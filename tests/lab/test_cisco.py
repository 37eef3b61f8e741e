"""The packets of the lab's keepalive sender, held to the bytes of a Cisco's, and its line protocol."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import GRE

from mcastd.lab import cisco

INNER = "45c00018 0001 0000 ff2f 9a6a 0a2c0601 0a2c0701 00000000".replace(" ", "")
REQUEST = bytes.fromhex("00000800" + INNER)


def test_a_request_is_the_answer_wrapped_for_the_far_end() -> None:
    found = cisco.request("10.44.7.1", "10.44.6.1")
    assert len(found) == 28
    assert found[:4] == REQUEST[:4]
    # Identification and checksum aside.
    assert found[4:8] + found[10:14] + found[16:] == REQUEST[4:8] + REQUEST[10:14] + REQUEST[16:]


def test_an_answer_is_the_inner_packet_on_its_own() -> None:
    inner = cisco.request("10.44.7.1", "10.44.6.1")[4:]
    assert cisco.is_reply(inner, "10.44.7.1", "10.44.6.1")
    assert not cisco.is_reply(inner, "10.44.6.1", "10.44.7.1")
    assert not cisco.is_reply(inner[:20] + bytes.fromhex("00000800"), "10.44.7.1", "10.44.6.1")


def test_what_it_is_asked_it_answers_with_what_was_inside() -> None:
    ours, theirs = "10.44.7.1", "10.44.6.1"
    outer = bytes.fromhex("45c0003000000000ff2f0000") + bytes((10, 44, 6, 1, 10, 44, 7, 1))
    asked = cisco.request(theirs, ours)
    assert cisco.reply_to(outer + asked, ours, theirs) == bytes(4)
    assert cisco.reply_to(outer + cisco.request(ours, theirs), ours, theirs) is None
    assert cisco.reply_to(outer + asked[4:], ours, theirs) is None
    assert not cisco.is_reply(outer + asked, ours, theirs)


@pytest.mark.parametrize("fields", [{}, {"key_present": 1, "key": 40}, {"chksum_present": 1}, {"seqnum_present": 1}])
def test_scapy_builds_what_is_sent_and_what_scapy_builds_is_read(fields: dict[str, Any]) -> None:
    ours, theirs = "10.44.7.1", "10.44.6.1"
    for far in (theirs, "10.44.159.158"):  # the sum of the second one's header carries twice
        answer = IP(src=far, dst=ours, proto=47, ttl=255, tos=0xC0) / GRE(proto=0)
        assert cisco.request(ours, far) == bytes(GRE(proto=0x0800) / answer)
    asked = IP(src=theirs, dst=ours) / GRE(proto=0x0800, **fields) / IP(src=ours, dst=theirs) / GRE(proto=0)
    assert cisco.reply_to(bytes(asked) + b"padding", ours, theirs) == bytes(4)
    assert cisco.is_reply(bytes(IP(src=theirs, dst=ours) / GRE(proto=0, **fields)), ours, theirs)


def test_what_is_cut_short_is_neither() -> None:
    ours, theirs = "10.44.7.1", "10.44.6.1"
    asked = bytes(IP(src=theirs, dst=ours) / GRE(cisco.request(theirs, ours)))
    assert cisco.reply_to(asked, ours, theirs) is not None
    for size in range(len(asked)):
        assert cisco.reply_to(asked[:size], ours, theirs) is None
        assert not cisco.is_reply(asked[:size], ours, theirs)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    ran: list[list[str]] = []

    def run(argv: list[str], *, check: bool) -> subprocess.CompletedProcess[bytes]:
        assert check
        ran.append(argv)
        return subprocess.CompletedProcess(argv, 0)

    monkeypatch.setattr(subprocess, "run", run)
    return ran


def test_three_unanswered_take_the_line_down_and_an_answer_brings_it_up(
    commands: list[list[str]], tmp_path: Path
) -> None:
    line = cisco.Line("gre1", tmp_path / "report.json")
    for _ in range(3):
        line.request_sent()
    assert commands == []
    for _ in range(3):
        line.request_sent()
    assert commands == [["ip", "link", "set", "gre1", "down"]]
    line.reply_received(0.001)
    assert commands[1:] == [["ip", "link", "set", "gre1", "up"]]
    for _ in range(3):
        line.request_sent()
    assert len(commands) == 2


def test_it_can_be_made_to_answer_no_more(tmp_path: Path) -> None:
    line = cisco.Line("gre1", tmp_path / "report.json")
    found = []
    for _ in range(3):
        found.append(line.request_received())
        line.toggle_replies()
    assert (found, line.requests_received) == ([True, False, True], 3)


def test_no_shutdown_forgets_what_was_missed(commands: list[list[str]], tmp_path: Path) -> None:
    line = cisco.Line("gre1", tmp_path / "report.json")
    for _ in range(4):
        line.request_sent()
    line.reset()
    assert line.up
    assert line.missed == 0
    assert len(commands) == 2
