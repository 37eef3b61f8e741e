"""Where a stream has its sequence number: found of each format, with losses and another order; where none is, not."""

import random
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcastd.cli import main, stream_guess
from mcastd.config.feed_formats import FORMATS, Field, Sequence
from mcastd.errors import HostError
from mcastd.tools.guess.capture import Stream, capture
from mcastd.tools.guess.guess import ENOUGH, Guess, guess
from tests.meter.feeds import BUILDERS, Packet, custom
from tests.namespaces import Namespace

GROUP = IPv4Address("239.1.1.1")
STREAM = Stream("gre1", IPv4Address("100.15.30.5"), 5000)
seeds = st.integers(0, 1 << 32).map(random.Random)
firsts = st.integers(1, 200) | st.integers(1, (1 << 32) - 10_000)


def packets(sequence: Sequence, chance: random.Random, first: int, most: int = 8) -> list[Packet]:
    """A feed of which some packets are lost, some change their places, and some come twice."""
    found, number = list[Packet](), first
    for _ in range(ENOUGH):
        count = chance.randrange(most) if sequence.count is not None else 1
        packet = Packet(number % (1 << 8 * sequence.number.size), count, session=7)
        found += [packet] * chance.choices((0, 1, 2), (2, 96, 2))[0]
        number += count
    for place in range(1, len(found)):
        if chance.random() < 0.02:
            found[place - 1 : place + 1] = found[place], found[place - 1]
    return found


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=6, deadline=None)
@given(chance=seeds, first=firsts)
def test_a_known_format_is_found_by_its_name(name: str, chance: random.Random, first: int) -> None:
    found = guess([BUILDERS[name](one) for one in packets(FORMATS[name], chance, first)])
    assert found is not None
    assert (found.name, found.numbers) == (name, FORMATS[name])
    assert found.steps >= found.exact > 0.8 * found.steps


@settings(max_examples=12, deadline=None)
@given(seeds, firsts, st.sampled_from([2, 4, 8]), st.booleans(), st.integers(0, 30), st.booleans(), st.booleans())
def test_any_other_number_is_found_in_its_byte_order(
    chance: random.Random, first: int, size: int, big: bool, offset: int, counts: bool, noisy: bool
) -> None:
    sequence = Sequence(Field(offset, size, big), Field(50, 2, big) if counts else None)
    payloads = [custom(sequence, one) for one in packets(sequence, chance, first)]
    found = guess([one + chance.randbytes(40) for one in payloads] if noisy else payloads)
    assert found is not None
    number = found.numbers.number
    end = number.offset + number.size if big else number.offset
    assert (found.name, number.big, end) == (None, big, offset + size if big else offset)
    assert number.size <= size
    assert found.numbers.count in ((Field(51 if big else 50, 1, big), Field(50, 2, big)) if counts else (None,))


def nothing(kind: str, chance: random.Random, place: int, now: int) -> bytes:
    return {
        "random": chance.randbytes(60),
        "text": f"MSFT {chance.randrange(100)}.{chance.randrange(100):02} {chance.choice('BS')}".encode().ljust(30),
        "the same": bytes(60),
        "nanoseconds": now.to_bytes(8, "little") + bytes(40),
        "milliseconds": (now // 10**6).to_bytes(8, "big") + chance.randbytes(2) + bytes(40),
        "seconds": (now // 10**9).to_bytes(4, "big") + bytes((chance.random() < 0.02, 0)) + bytes(40),
        "one byte": bytes((0, 0, place % 256, 0, 0, 0)),
        "empty": b"",
    }[kind]


@pytest.mark.parametrize(
    "kind", ["random", "text", "the same", "nanoseconds", "milliseconds", "seconds", "one byte", "empty"]
)
@settings(max_examples=3, deadline=None)
@given(chance=seeds)
def test_where_no_number_is_none_is_found(kind: str, chance: random.Random) -> None:
    now, payloads = 1_700_000_000_000_000_000, []
    for place in range(ENOUGH):
        now += int(chance.expovariate(1 / 3e6))
        payloads.append(nothing(kind, chance, place, now))
    assert guess(payloads) is None


def test_too_few_packets_show_a_known_format_at_most() -> None:
    payloads = [BUILDERS["cme-mdp3"](Packet(number)) for number in range(1, 100)]
    assert guess(payloads) == Guess("cme-mdp3", FORMATS["cme-mdp3"], 98, 98)
    assert guess([one[:4] for one in payloads]) is None
    assert guess(payloads[:10]) is None
    assert guess([]) is None


@pytest.mark.parametrize(
    ("payloads", "code", "text"),
    [
        (
            [BUILDERS["rtp"](Packet(number)) for number in range(600)], 0,
            '599 of 599 steps from packet to packet are as the numbers say\n\n[[feeds]]\nname = "239.1.1.1"\n'
            'groups = ["239.1.1.1"]\nport = 5000\nsequence = "rtp"\n',
        ),
        (
            [(70_000 + number * 3).to_bytes(4, "big") + bytes((2 + number % 3, 9)) for number in range(400)], 1,
            "no sequence number found in so few packets\n",
        ),
        ([bytes(50)] * 600, 1, "no sequence number found\n"),
        (
            [number.to_bytes(8, "big") for number in range(600)], 0,
            "599 of 599 steps from packet to packet are as the numbers say\n"
            "it may have more bytes than 2, before these: they were 0, or there are none\n\n[[feeds]]\n"
            'name = "239.1.1.1"\ngroups = ["239.1.1.1"]\nport = 5000\n'
            'sequence = { offset = 6, size = 2, order = "big" }\n',
        ),
    ],
)  # fmt: skip
def test_what_is_found_is_printed_as_it_is_written_in_the_file(
    payloads: list[bytes], code: int, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arrived = {STREAM: payloads, STREAM._replace(interface="eth1", port=6000): payloads[:9]}
    monkeypatch.setattr(stream_guess, "capture", lambda *_: arrived)
    assert main(["streams", str(GROUP), "--guess"]) == code
    head = f"239.1.1.1 port 5000 from 100.15.30.5 on gre1: {len(payloads)} packets\nothers have port 6000: see --port\n"
    assert capsys.readouterr().out == head + text


@pytest.mark.root
def test_the_packets_of_a_group_are_seen_although_nothing_has_joined_it(namespace: Callable[[], Namespace]) -> None:
    host = namespace()
    host.ip("route", "add", "239.0.0.0/8", "dev", "lo")

    def arrived() -> dict[Stream, list[bytes]]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, ThreadPoolExecutor(1) as thread:
            sender.bind(("127.0.0.1", 0))
            done = thread.submit(capture, GROUP, None, 3, 20.0)  # in the same namespace
            while not done.done():
                for address in ((str(GROUP), 5000), (str(GROUP), 6000), ("239.1.1.2", 5000)):
                    sender.sendto(b"abc", address)
                time.sleep(0.01)
            return done.result()

    found = host.call(arrived)
    assert {(one.interface, str(one.source), one.port) for one in found} <= {
        ("lo", "127.0.0.1", 5000), ("lo", "127.0.0.1", 6000),
    }  # fmt: skip
    assert max(found.values(), key=len) == [b"abc"] * 3


def test_a_format_that_is_not_known_is_a_table() -> None:
    guessed = Guess(None, Sequence(Field(4, 2, big=True), Field(9, 1, big=True)), 1, 1)
    last = stream_guess.toml(GROUP, STREAM, guessed).splitlines()[-1]
    assert last == 'sequence = { offset = 4, size = 2, order = "big", count = { offset = 9, size = 1 } }'


def test_without_a_packet_or_a_group_or_the_right_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stream_guess, "capture", lambda *_: {})
    assert main(["streams", str(GROUP), "--guess", "--port", "7"]) == 1
    assert capsys.readouterr().out == "no packet of 239.1.1.1 port 7 has arrived; is it joined?\n"
    assert main(["streams", "--guess"]) == 2
    assert main(["streams", str(GROUP), "--port", "7"]) == 2
    with pytest.raises(SystemExit):
        main(["streams", str(GROUP), "--guess", "--port", "65536"])

    def refused(*_: object) -> None:
        raise HostError("cannot capture packets: Operation not permitted; it needs root or CAP_NET_RAW")

    monkeypatch.setattr(stream_guess, "capture", refused)
    assert main(["streams", str(GROUP), "--guess"]) == 1
    assert "it needs root" in capsys.readouterr().err
