import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcastd import control
from mcastd.cli import main
from mcastd.control import ControlServer, ask
from mcastd.errors import ControlError, ControlRefused, McastdError
from mcastd.status import Status
from tests.fakes.memory import MemoryLog


async def echo(arguments: dict[str, Any]) -> dict[str, Any]:
    return arguments


async def refuse(_arguments: dict[str, Any]) -> None:
    raise McastdError("not today")


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def fail(_arguments: dict[str, Any]) -> None:
    raise KeyError("x")


LOG = MemoryLog()
Talk = Callable[[Path], Awaitable[None]]


def serve(path: Path, talk: Talk) -> None:
    async def run() -> None:
        server = ControlServer(path, {"echo": echo, "refuse": refuse, "join": refuse, "break": fail}, LOG.logger)
        await server.start()
        try:
            async with asyncio.timeout(20):
                await talk(path)
        finally:
            await server.close()

    asyncio.run(run())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


async def answer_to(path: Path, request: bytes) -> bytes:
    """The answer to one line, empty where the connection was closed instead."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(request)
        return await reader.readline()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def still_answers(path: Path) -> None:
    assert await asyncio.to_thread(ask, path, "echo", {"a": [1, "б"]}) == '{"a":[1,"б"]}'.encode()


def test_an_answer_a_refusal_and_an_unknown_command(path: Path) -> None:
    async def talk(path: Path) -> None:
        await still_answers(path)
        with pytest.raises(ControlRefused, match="not today"):
            await asyncio.to_thread(ask, path, "refuse")
        with pytest.raises(ControlRefused, match=r"unknown command 'fly'; known: echo, refuse"):
            await asyncio.to_thread(ask, path, "fly")
        assert path.stat().st_mode & 0o777 == 0o660

    serve(path, talk)
    assert not path.exists()


@pytest.mark.parametrize(
    "line",
    [b"\n", b"garbage\n", b"\xff\xfe\n", b"[]\n", b'{"command": 5}\n', b'{"command": "echo", "arguments": []}\n',
     b'{"command": "echo", "arguments": {"a": ' + b"[" * 60000 + b"\n"],
    ids=["empty", "garbage", "not-utf8", "list", "number", "arguments", "nested"],
)  # fmt: skip
def test_what_is_no_request_gets_an_answer(path: Path, line: bytes) -> None:
    async def talk(path: Path) -> None:
        response = msgspec.json.decode(await answer_to(path, line))
        assert response["ok"] is False
        assert response["error"].startswith("not a request: ")
        await still_answers(path)

    serve(path, talk)


def test_clients_that_misbehave_lose_their_connection_and_nothing_more(path: Path) -> None:
    async def talk(path: Path) -> None:
        assert await answer_to(path, b"x" * 200_000) == b""
        for words in (b"", b'{"comm', b'{"command": "echo"}\n' * 50):  # gone at once, half a line, before the answer
            _, writer = await asyncio.open_unix_connection(path)
            writer.write(words)
            writer.close()
        crowd = [await asyncio.open_unix_connection(path) for _ in range(100)]
        await still_answers(path)
        for _, writer in crowd:
            writer.close()

    serve(path, talk)


def test_idle_clients_neither_keep_others_out_nor_use_up_descriptors(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk(path: Path) -> None:
        monkeypatch.setattr(control, "_IDLE_TIMEOUT", 600.0)
        before = descriptors()
        crowd: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        for _ in range(4):  # asyncio accepts up to 100 in one turn of the loop
            crowd += await asyncio.gather(*(asyncio.open_unix_connection(path) for _ in range(75)))
        await still_answers(path)
        for reader, _ in crowd[:-100]:
            assert await reader.read() == b""
        assert descriptors() - before < 300 + 2 * control._CLIENTS
        for _, writer in crowd:
            writer.close()

    serve(path, talk)


def test_a_command_that_fails_is_answered_and_logged(path: Path) -> None:
    async def talk(path: Path) -> None:
        with pytest.raises(ControlRefused, match="internal error: KeyError: 'x'"):
            await asyncio.to_thread(ask, path, "break")
        assert LOG.events()[-1] == "command_failed"
        assert "Traceback" in LOG.records[-1]["problem"]
        await still_answers(path)

    serve(path, talk)


def test_a_client_that_takes_no_answers_is_hung_up_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(path: Path) -> None:
        monkeypatch.setattr(control, "_IDLE_TIMEOUT", 0.05)
        before = descriptors()
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            client.connect(str(path))
            request = msgspec.json.encode({"command": "echo", "arguments": {"a": "x" * 60_000}}) + b"\n"
            while True:
                try:
                    client.send(request)
                except BlockingIOError:
                    await asyncio.sleep(0.01)
                except ConnectionError:
                    break
        assert descriptors() == before
        await still_answers(path)

    serve(path, talk)


def test_an_idle_client_is_hung_up_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_IDLE_TIMEOUT", 0.0)

    async def talk(path: Path) -> None:
        assert await answer_to(path, b"") == b""

    serve(path, talk)


def test_nobody_answers_on_an_absent_or_a_stale_socket(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ControlError, match=r"no mcastd answers on .*control\.sock: No such file"):
        ask(path, "status")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with pytest.raises(ControlError, match="Connection refused"):
        ask(path, "status")
    assert main(["status", "--socket", str(path)]) == 3
    assert "no mcastd answers" in capsys.readouterr().err

    async def talk(path: Path) -> None:
        await still_answers(path)

    serve(path, talk)


def test_a_daemon_that_hangs_is_waited_for_2_seconds(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(path))
        hung.listen()
        for words in (["status"], ["status", "--json"], ["leave", "239.1.1.2"]):
            began = time.monotonic()
            assert main([*words, "--socket", str(path)]) == 3
            assert 1.9 < time.monotonic() - began < 3.0
            out, err = capsys.readouterr()
            assert out == ""
            assert err.startswith(f"mcastd: mcastd did not answer on {path} within 2 s")
            assert "systemctl status mcastd" in err
            assert "systemctl restart mcastd" in err


@pytest.mark.root
def test_who_may_not_ask_is_told_who_may(path: Path) -> None:
    path.parent.chmod(0o700)
    os.seteuid(65534)
    try:
        with pytest.raises(ControlError, match=r"Permission denied\. It answers root and the group mcastd"):
            ask(path, "status")
    finally:
        os.seteuid(0)


def test_exit_codes_of_a_refusal_and_of_wrong_usage(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def talk(path: Path) -> None:
        assert await asyncio.to_thread(main, ["join", "239.1.1.2", "--socket", str(path)]) == 1

    serve(path, talk)
    assert capsys.readouterr().err == "mcastd: not today\n"
    for words in ([], ["fly"], ["join"], ["join", "not-an-address"], ["status", "--no-such"]):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 2


def test_an_answer_of_another_version_is_no_traceback() -> None:
    with pytest.raises(
        ControlError, match=r"missing required field.*of another version than this command.*restart mcastd"
    ):
        control.decode(b'{"schema": 1}', Status)
