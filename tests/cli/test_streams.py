"""What the kernel has counted of each stream, as the command shows it."""

import socket
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcastd.cli import main
from mcastd.status import StreamCount, StreamsReport

ONE = StreamCount(
    tunnel="gre1", source="100.15.30.5", group="239.1.1.10", port=5000, state="arriving", packets=1200, bytes=240_000,
    rate=100.0, last_age=0.2, age=75.0, dropped=17,
)  # fmt: skip
TWO = msgspec.structs.replace(ONE, group="239.1.1.9", state="silent", rate=None, last_age=4000.0, age=None, dropped=0)
REPORT = StreamsReport(counting_since="2026-03-02T09:00:00Z", period=4210.0, streams=(ONE, TWO))
TEXT = """\
counted since 2026-03-02T09:00:00Z; packets and bytes of the last 1h10m
group            port source          tunnel          packets           bytes packets/s  dropped    last     for
239.1.1.9        5000 100.15.30.5     gre1               1200          240000                  0   1h06m          silent
239.1.1.10       5000 100.15.30.5     gre1               1200          240000     100.0       17    0.2s   1m15s
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


def test_the_streams_are_shown_in_the_order_of_their_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, asked = shown(tmp_path, REPORT)
    assert (code, capsys.readouterr().out) == (0, TEXT)
    assert asked == [{"command": "streams", "arguments": {"group": "", "since": None, "reset": False}}]


def test_json_has_a_schema_and_the_same_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, asked = shown(tmp_path, REPORT, "239.1.1.9", "--json", "--since", "10m", "--reset")
    answer = msgspec.json.decode(capsys.readouterr().out)
    assert (code, answer["schema"]) == (0, 1)
    assert [one["group"] for one in answer["streams"]] == ["239.1.1.9", "239.1.1.10"]
    assert asked[0]["arguments"] == {"group": "239.1.1.9", "since": 600.0, "reset": True}


def test_what_is_not_counted_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(tmp_path, StreamsReport(problem="no nft"))[0] == 1
    assert capsys.readouterr().out == "streams are not counted: no nft\n"


@pytest.mark.parametrize("text", ["", "x", "10y", "-1", "0", "26h", "nan"])
def test_a_period_that_cannot_be_is_wrong_usage(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["streams", f"--since={text}"])
    assert ended.value.code == 2
    assert "--since" in capsys.readouterr().err
