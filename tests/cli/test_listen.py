"""What the command takes, listens to and prints; the packets are made up."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from mcastd.cli import listen, listen_lines, main
from mcastd.cli.layout import plain
from mcastd.config.feed_formats import FORMATS, Field, Sequence
from mcastd.stream_status import StreamCount, StreamsReport
from mcastd.tools.listen.listener import Buffer, Packet, Side
from mcastd.tools.listen.report import ListenReport

TABLE = "{ offset = 4, size = 2, order = 'big' }"
FEEDS = """
[[feeds]]
name = "trades"
groups = ["239.1.1.1"]
port = 5000
sequence = "cme-mdp3"

[[feeds]]
name = "two ports"
groups = ["239.1.1.3"]
port = 1

[[feeds]]
name = "two ports, the other"
groups = ["239.1.1.3"]
port = 2

[[feeds]]
name = "sides"
pair = ["239.1.1.4:14310", "239.2.1.4:15310"]
sequence = "rtp"
"""


class Sockets:
    """Sockets that have some packets, and then are interrupted."""

    opened: tuple[Side, ...] = ()
    packets_of: tuple[tuple[int, int], ...] = ()  # side and number
    dropped = 0

    def __init__(self, sides: tuple[Side, ...]) -> None:
        type(self).opened = sides

    def close(self) -> None:
        pass

    def buffers(self) -> list[Buffer]:
        return [Buffer(425984, self.dropped) for _ in self.opened]

    def packets(self, _until: float) -> Iterator[tuple[int, Packet]]:
        for place, (side, number) in enumerate(self.packets_of):
            yield side, Packet(1_000_000 * place, "10.1.1.1", 30000, struct.pack("<I", number))
        raise KeyboardInterrupt


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Sockets]:
    class Made(Sockets):
        pass

    monkeypatch.setattr(listen, "Receiver", Made)
    monkeypatch.setenv("MCASTD_SOCKET", str(tmp_path / "control.sock"))
    return Made


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "mcastd.toml"
    path.write_text(FEEDS)
    return f"--config={path}"


def listened(*words: str) -> int:
    return main(["listen", *words])


@pytest.mark.parametrize(
    ("words", "sides"),
    [
        (["239.1.1.1"], [Side("239.1.1.1", 5000, None, None, "trades", FORMATS["cme-mdp3"])]),
        (["239.1.1.1:7"], [Side("239.1.1.1", 7)]),
        (
            ["232.1.1.2:7", "--source", "10.1.1.1", "--interface", "gre1", "--sequence", "rtp"],
            [Side("232.1.1.2", 7, "gre1", "10.1.1.1", None, FORMATS["rtp"])],
        ),
        (["239.1.1.2:7", "--sequence", TABLE], [Side("239.1.1.2", 7, sequence=Sequence(Field(4, 2, big=True)))]),
        (
            ["239.1.1.1", "--pair", "239.2.1.1"],
            [
                Side("239.1.1.1", 5000, None, None, "trades", FORMATS["cme-mdp3"]),
                Side("239.2.1.1", 5000, sequence=FORMATS["cme-mdp3"]),
            ],
        ),
        (
            ["239.1.1.4", "--pair", "239.2.1.4"],
            [
                Side("239.1.1.4", 14310, None, None, "sides", FORMATS["rtp"]),
                Side("239.2.1.4", 15310, None, None, "sides", FORMATS["rtp"]),
            ],
        ),
        (
            ["239.1.1.2:7", "--pair", "239.1.1.1:5000"],
            [
                Side("239.1.1.2", 7, sequence=FORMATS["cme-mdp3"]),
                Side("239.1.1.1", 5000, None, None, "trades", FORMATS["cme-mdp3"]),
            ],
        ),
    ],
)
def test_what_is_listened_to(sockets: type[Sockets], config: str, words: list[str], sides: list[Side]) -> None:
    assert listened(config, *words) == 1  # nothing has arrived
    assert list(sockets.opened) == sides


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["239.1.1.3"], "239.1.1.3:PORT; known are 1, 2"),
        (["239.1.1.9"], "has no feed with a port for it; no mcastd answers"),
        (["239.1.1.9", "--config=/none"], "/none cannot be read or is wrong"),
        (["239.1.1.9:1", "--pair", "239.2.1.9"], "give --sequence"),
        (["10.1.1.1:1"], "allowed: a multicast group, also with a port"),
        (["239.1.1.1:0"], "not a port"),
        (["239.1.1.1:1", "--sequence", "none"], "is not a known format"),
        (["239.1.1.1:1", "--sequence", "{ offset"], "--sequence"),
        (["239.1.1.1:1", "--sequence", "{ offset = 1 }"], "size is not an integer"),
        (["239.1.1.1:1", "--seconds", "0"], "more than 0"),
        (["239.1.1.1:1", "--seconds", "nan"], "more than 0"),
        (["239.1.1.1:1", "--source", "x"], "--source"),
    ],
)
def test_wrong_usage_is_exit_code_2(
    sockets: type[Sockets], config: str, words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = listened(config, *words)
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert text in capsys.readouterr().err
    assert sockets.opened == ()


def test_the_port_of_the_only_stream_that_the_daemon_knows_and_what_it_counted(
    sockets: type[Sockets], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sockets.packets_of = (0, 1), (0, 2)
    one = StreamCount(
        tunnel="gre1", source="10.1.1.1", group="239.1.1.9", port=9000, state="arriving", packets=7, bytes=0,
        rate=None, last_age=0.0,
    )  # fmt: skip
    answers = iter((7, 9))

    def ask(path: Path, command: str, arguments: dict[str, str]) -> bytes:
        assert (command, arguments) == ("streams", {"group": "239.1.1.9"})
        return msgspec.json.encode(StreamsReport(streams=(msgspec.structs.replace(one, packets=next(answers)),)))

    monkeypatch.setattr("mcastd.control.ask", ask)
    assert listened("239.1.1.9", "--config=/none") == 0
    assert [(side.group, side.port) for side in sockets.opened] == [("239.1.1.9", 9000)]
    assert "mcastd counted meanwhile on gre1 from 10.1.1.1: 2 packets\n" in capsys.readouterr().out
    answers, sockets.packets_of = iter((9, 9)), ()
    assert listened("239.1.1.9:5000", "--config=/none") == 1
    assert "nothing has arrived: 239.1.1.9:5000 (mcastd has counted port 9000 of" in capsys.readouterr().out


def test_ctrl_c_ends_it_with_a_summary(
    sockets: type[Sockets], config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "time", SimpleNamespace(monotonic=lambda: 1.0, time=lambda: 2.0))
    sockets.packets_of = (0, 1), (0, 2), (0, 5), (0, 4), (0, 5)
    assert listened(config, "239.1.1.1") == 1
    assert (
        capsys.readouterr().out
        == """\
239.1.1.1:5000 (trades): 5 packets in 0.0s, 0/s, 0 b/s
  dropped by the socket: 0 (receive buffer 425,984 bytes)
  from 10.1.1.1 port 30000: 5 packets, jitter 0us
    longest gap 1.0ms, 2.0s ago; 50 % below 1.0ms, 99 % below 1.0ms
    largest burst: 1 packets in 1 ms, 5 in 10 ms
    sequence numbers: 5 seen, 0 missing, 1 awaited, 1 duplicate, 1 late, 0 resets
    last gap: 2, 2.0s ago
    the last one begins with 05 00 00 00
packets were lost
"""
    )


def test_the_summary_fits_a_terminal(sockets: type[Sockets], config: str, capsys: pytest.CaptureFixture[str]) -> None:
    sockets.packets_of = (0, 1), (1, 1), (0, 2), (1, 3), (0, 4)
    assert listened(config, "239.1.1.1", "--pair", "239.2.1.1", "--json") == 0
    report = msgspec.json.decode(capsys.readouterr().out, type=ListenReport)
    shown = plain(listen_lines.summary(report), 80).splitlines()
    assert max(map(len, shown)) <= 80
    assert [one.split()[0] for one in shown if not one.startswith(" ")] == ["A", "B", "pair", "nothing"]


def test_json_is_one_object(sockets: type[Sockets], config: str, capsys: pytest.CaptureFixture[str]) -> None:
    sockets.packets_of = (0, 1), (1, 1), (0, 2), (1, 3), (0, 4)
    assert listened(config, "239.1.1.1", "--pair", "239.2.1.1", "--json") == 0
    answer = msgspec.json.decode(capsys.readouterr().out)
    assert (answer["schema"], answer["lost"], len(answer["sides"])) == (1, False, 2)
    assert answer["pairs"][0]["awaited_b"] == 2
    assert answer["sides"][0]["sources"][0]["measured"][0]["numbers"]["missing"] == 0


@pytest.mark.parametrize(
    ("numbers", "dropped", "text"),
    [
        ([], 0, "nothing has arrived: 239.1.1.1:5000"),
        ([1, 2], 0, "nothing is lost"),
        ([1, 3], 0, "packets were lost"),
        ([1, 2], 5000, "packets were lost; 5,000 had no room in the buffer of this socket"),
    ],
)
def test_the_last_line_is_the_verdict(
    sockets: type[Sockets], config: str, numbers: list[int], dropped: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    sockets.packets_of, sockets.dropped = tuple((0, one) for one in numbers), dropped
    listened(config, "239.1.1.1")
    assert capsys.readouterr().out.splitlines()[-1] == text


def test_without_numbers_only_the_drops_of_the_socket_are_known(
    sockets: type[Sockets], config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sockets.packets_of = ((0, 1),)
    assert listened(config, "239.1.1.2:5") == 0
    assert "without --sequence no other loss is seen" in capsys.readouterr().out


def test_a_line_each_second(
    sockets: type[Sockets], config: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter(range(100))
    monkeypatch.setattr(listen, "time", SimpleNamespace(monotonic=lambda: float(next(now)), time=lambda: 0.0))

    def packets(_self: Sockets, _until: float) -> Iterator[tuple[int, Packet]]:
        yield 0, Packet(0, "10.1.1.1", 30000, bytes(range(16)))

    monkeypatch.setattr(sockets, "packets", packets)
    assert listened(config, "239.1.1.2:5", "--seconds", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "2s  1/s  352 b/s  1 packets  jitter 0us  10.1.1.1 00 01 02 03 04 05 06 07",
        "3s  1/s  352 b/s  2 packets  jitter 0us  10.1.1.1 00 01 02 03 04 05 06 07",
    ]


def test_a_terminal_has_one_line_that_is_painted_again(
    sockets: type[Sockets], config: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((20, 24)))
    monkeypatch.setattr(sockets, "packets", lambda *_: iter([(0, Packet(0, "10.1.1.1", 30000, bytes(99)))]))
    listened(config, "239.1.1.2:5", "--seconds", "1")
    painted, cleared, *_ = capsys.readouterr().out.split("\r")[1:]
    assert painted.endswith("\x1b[K")
    assert len(painted) == 19 + 3
    assert cleared.startswith("\x1b[K239.1.1.2:5: 1 packets")


def test_a_pair_has_both_sides_in_its_line(
    sockets: type[Sockets], config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "packets", lambda *_: iter([(0, Packet(0, "10.1.1.1", 30000, bytes(4)))]))
    monkeypatch.setattr(sockets, "dropped", 1200)
    assert listened(config, "239.1.1.1", "--pair=239.2.1.1", "--seconds=1") == 1
    first, *_, last = capsys.readouterr().out.splitlines()
    assert "  A  " in first
    assert "1 packets, 0 missing, 0 duplicate, 0 late, 1,200 dropped by the socket  B  0/s  0 b/s  0 packets" in first
    assert first.endswith("lost on both 0")
    assert last == "nothing has arrived: 239.2.1.1:5000"


def test_what_one_side_alone_lacks_is_not_called_nothing(
    sockets: type[Sockets], config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sockets.packets_of = ((0, 1), (1, 1), (0, 2), (0, 3), (1, 3))
    assert listened(config, "239.1.1.1", "--pair=239.2.1.1", "--seconds=1") == 0
    *_, last = capsys.readouterr().out.splitlines()
    assert last == "nothing is lost on both sides"
