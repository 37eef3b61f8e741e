"""What the kernel has counted of each stream, as the command shows it."""

import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcastd.cli import main
from mcastd.stream_status import LossStatus, PairCount, SocketStatus, StreamCount, StreamHistory, StreamsReport
from mcastd.system.processes import cgroup_path, of_sockets

ONE = StreamCount(
    tunnel="gre1", source="100.15.30.5", group="239.1.1.10", port=5000, state="arriving", packets=1200, bytes=240_000,
    rate=100.0, last_age=0.2, age=75.0, dropped=17, wanted=False,
)  # fmt: skip
TWO = msgspec.structs.replace(
    ONE, group="239.1.1.9", state="silent", rate=None, last_age=4000.0, age=None, dropped=0, wanted=True
)
REPORT = StreamsReport(counting_since="2026-03-02T09:00:00Z", period=4210.0, streams=(ONE, TWO))
TEXT = """\
counted since 2026-03-02T09:00:00Z; packets and bytes of the last 1h10m
2 streams: 1 silent, 1 not wanted
group       port  source       tunnel  packets     bytes   rate        bits  dropped   last    for
239.1.1.9   5000  100.15.30.5  gre1      1,200  240.0 kB                              1h06m         silent
239.1.1.10  5000  100.15.30.5  gre1      1,200  240.0 kB  100/s  160.0 kb/s       17   0.2s  1m15s  not wanted
"""


def answering(path: Path, report: StreamsReport, asked: list[dict[str, Any]]) -> threading.Thread:
    """A daemon for one question."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as client, client.makefile("rwb") as lines:
            asked.append(msgspec.json.decode(lines.readline()))
            lines.write(b'{"ok":true,"result":' + msgspec.json.encode(report) + b"}\n")

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def shown(path: Path, report: StreamsReport, *words: str) -> tuple[int, list[dict[str, Any]]]:
    asked: list[dict[str, Any]] = []
    daemon = answering(path / "control.sock", report, asked)
    code = main(["streams", "--socket", str(path / "control.sock"), *words])
    daemon.join()
    return code, asked


def test_the_streams_are_shown_with_units_and_what_is_not_wanted_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, asked = shown(tmp_path, REPORT)
    assert (code, capsys.readouterr().out) == (0, TEXT)
    assert asked == [{"command": "streams", "arguments": {"group": "", "since": None, "reset": False}}]


def test_watching_asks_for_the_last_minute_of_every_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: (_ for _ in ()).throw(KeyboardInterrupt))
    history = StreamHistory(packets=(50,) * 54 + (100,) * 6, bytes=(1000,) * 60)
    report = msgspec.structs.replace(
        REPORT, history_until="2026-03-02T10:00:00Z", not_recorded=4,
        streams=(msgspec.structs.replace(ONE, history=history), TWO),
    )  # fmt: skip
    asked: list[dict[str, Any]] = []
    daemon = answering(tmp_path / "control.sock", report, asked)
    assert main(["streams", "--socket", str(tmp_path / "control.sock"), "--watch"]) == 130
    daemon.join()
    assert asked[0]["arguments"] == {"group": "", "since": None, "reset": False, "history": 60.0}
    out = capsys.readouterr().out
    assert "4 streams are not recorded second by second: they are too many\n" in out
    assert "1m15s  ▅▅▅▅▅▅▅▅▅█  not wanted\n" in out


def test_json_has_a_schema_and_the_same_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, asked = shown(tmp_path, REPORT, "239.1.1.9", "--json", "--since", "10m", "--reset")
    answer = msgspec.json.decode(capsys.readouterr().out)
    assert (code, answer["schema"]) == (0, 1)
    assert [one["group"] for one in answer["streams"]] == ["239.1.1.9", "239.1.1.10"]
    assert asked[0]["arguments"] == {"group": "239.1.1.9", "since": 600.0, "reset": True, "history": 600.0}


def test_json_has_what_one_group_carried_in_each_second(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = StreamHistory(packets=(None, 100, 0), bytes=(None, 20_000, 0), missing=(None, 3, 0))
    one = msgspec.structs.replace(ONE, history=history)
    report = msgspec.structs.replace(REPORT, history_until="2026-03-02T10:00:00.012Z", streams=(one, TWO))
    _, asked = shown(tmp_path, report, "239.1.1.9", "--json", "--since", "2h")
    answer = msgspec.json.decode(capsys.readouterr().out)
    assert asked[0]["arguments"]["history"] == 600.0
    assert answer["history_until"] == "2026-03-02T10:00:00.012Z"
    assert [one.get("history") for one in answer["streams"]] == [
        None, {"packets": [None, 100, 0], "bytes": [None, 20_000, 0], "missing": [None, 3, 0]},
    ]  # fmt: skip


def test_what_is_not_measured_need_not_be_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown(tmp_path, msgspec.structs.replace(REPORT, not_measured="A and B are not compared: too complex"))
    line = "not everything is measured (gaps, bursts, sequence numbers, pairs): A and B are not compared: too complex"
    assert capsys.readouterr().out.splitlines()[1] == line


def test_what_is_not_counted_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(tmp_path, StreamsReport(problem="no nft"))[0] == 1
    assert capsys.readouterr().out == "streams are not counted: no nft\n"


@pytest.mark.parametrize("text", ["", "x", "10y", "-1", "0", "26h", "nan"])
def test_a_period_that_cannot_be_is_wrong_usage(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["streams", f"--since={text}"])
    assert ended.value.code == 2
    assert f"--since: {text}; allowed: 1s to 25h, e.g. 90s, 10m, 2h" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["streams", "join", "leave", "status --group", "doctor --group"])
@pytest.mark.parametrize("text", ["10.1.1.1", "239.1.1", "239.1.1.1:5000", "x"])
def test_what_is_no_group_is_wrong_usage(command: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), text])
    assert ended.value.code == 2
    assert f"{text}; allowed: an IPv4 multicast group, e.g. 239.1.1.2" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "65536", "x", "1.5"])
def test_a_port_that_cannot_be_is_wrong_usage(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["streams", "239.1.1.1", "--guess", "--port", text])
    assert ended.value.code == 2
    assert f"--port: {text}; allowed: 1 to 65535" in capsys.readouterr().err


def test_of_one_group_it_is_shown_where_it_was_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    losses = (
        LossStatus(stage="nic", subject="eth0", packets=2, text="dropped 2"),
        LossStatus(stage="esp", text="ESP is not done by the kernel"),
        LossStatus(stage="socket", subject="0.0.0.0 port 5000", packets=137, text="too small", worst=True),
    )
    sock = SocketStatus(
        port=5000, address="0.0.0.0", uid=1000, inode=1, cgroup=None, queued=10, receive_buffer=20, dropped=137
    )
    report = msgspec.structs.replace(REPORT, losses=losses, losses_period=600.0, sockets=(sock,))
    shown(tmp_path, report, "239.1.1.9")
    out = capsys.readouterr().out
    assert out.endswith("""
lost on this host in the last 10m00s, in the order of the path:
  network card eth0: 2 (dropped 2)
  ESP: not measured (ESP is not done by the kernel)
  socket 0.0.0.0 port 5000: 137 (too small)
most is lost by: socket 0.0.0.0 port 5000
sockets that are bound to these ports:
  0.0.0.0 port 5000: a process of uid 1000 (its name is for root), 10 of 20 bytes taken, 137 dropped
""")
    (tmp_path / "control.sock").unlink()
    shown(tmp_path, msgspec.structs.replace(report, losses=losses[1:2]), "239.1.1.9")
    printed = capsys.readouterr().out
    assert "no loss is seen on this host; should packets be missing, they were lost before it, or never sent" in printed


def test_a_pair_is_a_line_and_of_one_group_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = (0,) * 32
    pair = PairCount(
        feed="trades", a="239.1.1.9:5000", b="239.2.1.9:5001", compared=10_000, lost_a=12, lost_b=7, lost_both=2,
        awaited_b=3, not_compared=40, restarts=1, a_first=(30, 0, 60, *empty[3:]), b_first=(0, 10, *empty[2:]),
    )  # fmt: skip
    none = PairCount(feed="news", a="239.1.1.8", b="239.2.1.8", unit=2)
    report = msgspec.structs.replace(REPORT, pairs=(pair, none))
    line = "pair trades, A 239.1.1.9:5000, B 239.2.1.9:5001: lost on A alone 12, on B alone 7, on both 2, of 10,000\n"
    last = "pair news, unit 2, A 239.1.1.8, B 239.2.1.8: nothing is compared yet\n"
    shown(tmp_path, report)
    assert capsys.readouterr().out == TEXT + line + last
    (tmp_path / "control.sock").unlink()
    shown(tmp_path, report, "239.1.1.9")
    assert (
        capsys.readouterr().out
        == f"""{TEXT}{line}\
  awaited on A alone 0, on B alone 3, on both 0
  A first in 90.0 % of the packets; B later: 50 % by less than 4us, 99 % by less than 4us
  B first in 10.0 % of the packets; A later: 50 % by less than 2us, 99 % by less than 2us
  not compared: 40 numbers, 1 restarts
{last}"""
    )


def test_the_processes_that_have_a_socket_and_its_cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        inode = os.fstat(sock.fileno()).st_ino
        assert of_sockets([inode])[inode].keys() == {os.getpid()}
    assert of_sockets([]) == of_sockets([inode]) == {}
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert cgroup_path((tmp_path / "a" / "b").stat().st_ino, tmp_path) == "/a/b"
    assert cgroup_path(1, tmp_path) is cgroup_path(None, tmp_path) is None
    monkeypatch.setattr(os, "walk", lambda top: [(str(top / "gone"), [], []), (str(top / "a"), [], [])])
    assert cgroup_path((tmp_path / "a").stat().st_ino, tmp_path) == "/a"
