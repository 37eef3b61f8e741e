"""The client against bytes of every kind. What is on the other end of the socket here is the hostile part itself."""

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vici.protocol import Message, Packet

from mcastd.errors import DecodeError, ViciError, ViciNoAnswer, ViciRefused, ViciUnavailable, ViciUnreadable
from mcastd.ipsec.sas import Section
from mcastd.ipsec.vici import MAX_FRAME, ViciConnection, ViciSocket, decode_message, decode_packet, read_frame

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

keys = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)
values = st.binary(max_size=50) | st.lists(st.binary(max_size=20), max_size=4)
sections = st.recursive(
    st.dictionaries(keys, values, max_size=4), lambda inner: st.dictionaries(keys, values | inner, max_size=4)
)


def frame(packet: bytes) -> bytes:
    return struct.pack("!I", len(packet)) + packet


def response(message: dict[str, object]) -> bytes:
    return frame(bytes([Packet.CMD_RESPONSE]) + Message.serialize(message))


def event(name: bytes, message: dict[str, object]) -> bytes:
    return frame(bytes([Packet.EVENT, len(name)]) + name + Message.serialize(message))


def against(tmp_path: Path, peer: Peer, ask: Callable[[ViciConnection], Awaitable[object]]) -> object:
    async def run() -> object:
        done = asyncio.Event()

        async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, EOFError, DecodeError):
                await peer(reader, writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            done.set()

        server = await asyncio.start_unix_server(served, tmp_path / "vici")
        connection = await ViciSocket(tmp_path / "vici").connect()
        try:
            return await ask(connection)
        finally:
            connection.close()
            await done.wait()
            server.close()

    return asyncio.run(run())


def answering(*answers: bytes) -> Peer:
    """Reads a request and writes the next answer, then closes."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await read_frame(reader)
            writer.write(answer)

    return peer


@given(sections)
def test_what_is_encoded_decodes_to_the_same(section: Section) -> None:
    assert decode_message(Message.serialize(section)) == section


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused_with_a_reason(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        kind, _, message = decode_packet(data)
        assert data[0] == kind
        assert data.endswith(Message.serialize(message))


@given(sections.filter(bool), st.data())
def test_a_message_cut_short_is_refused_or_a_shorter_message(section: Section, data: st.DataObject) -> None:
    whole = Message.serialize(section)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with contextlib.suppress(DecodeError):
        assert Message.serialize(decode_message(cut)) == cut


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x03\x01a\x00\x09abc", "vici-truncated"),
        (b"\x03\x05a", "vici-truncated"),
        (b"\x03\x01a\x00", "vici-truncated"),
        (b"\x09", "vici-element"),
        (b"\x03\x01\xff\x00\x00", "vici-name"),
        (b"\x01\x01a", "vici-structure"),
        (b"\x02", "vici-structure"),
        (b"\x04\x01a\x03", "vici-structure"),
        (b"\x01\x01a" * 50_000 + b"\x02" * 50_000, "vici-structure"),
    ],
)
def test_broken_elements_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_message(data)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "vici-truncated"),
        (b"\x00", "vici-type"),
        (b"\x63", "vici-type"),
        (b"\x05x", "vici-trailing"),
        (b"\x07\x09ike", "vici-truncated"),
        (b"\x07\x01\xff", "vici-name"),
    ],
)
def test_broken_packets_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_packet(data)
    assert caught.value.reason == reason


def test_the_answer_is_returned_and_events_before_it_are_handed_on(tmp_path: Path) -> None:
    seen: list[tuple[str, Section]] = []
    peer = answering(
        frame(bytes([Packet.EVENT_CONFIRM])),
        event(b"list-sa", {"a": {"state": "UP"}}) + event(b"list-sa", {"b": {}}) + response({"version": "5"}),
    )

    async def ask(connection: ViciConnection) -> Section:
        return await connection.command("list-sas", stream="list-sa", on_event=lambda *event: seen.append(event))

    assert against(tmp_path, peer, ask) == {"version": b"5"}
    assert seen == [("list-sa", {"a": {"state": b"UP"}}), ("list-sa", {"b": {}})]


def test_a_refusal_carries_charons_reason(tmp_path: Path) -> None:
    peer = answering(response({"success": "no", "errmsg": "invalid proposal"}))
    with pytest.raises(ViciRefused, match="invalid proposal"):
        against(tmp_path, peer, lambda connection: connection.command("load-conn", {}))


def test_unknown_commands_and_events_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ViciRefused, match="command nonsense"):
        against(tmp_path, answering(frame(bytes([Packet.CMD_UNKNOWN]))), lambda c: c.command("nonsense"))
    with pytest.raises(ViciRefused, match="event alert"):
        against(tmp_path, answering(frame(bytes([Packet.EVENT_UNKNOWN]))), lambda c: c.register("alert"))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"", ViciUnavailable),
        (b"\x00\x00", ViciUnavailable),
        (struct.pack("!I", 10) + b"\x01", ViciUnavailable),
        (struct.pack("!I", MAX_FRAME + 1), ViciUnreadable),
        (struct.pack("!I", 0xFFFFFFFF), ViciUnreadable),
        (struct.pack("!I", 0), ViciUnreadable),
        (frame(b"\x63"), ViciUnreadable),
        (frame(b"\x01\x03\x01a\x00\x09abc"), ViciUnreadable),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ViciUnreadable),
    ],
)
def test_half_frames_and_garbage_close_the_connection(tmp_path: Path, answer: bytes, expected: type[ViciError]) -> None:
    async def ask(connection: ViciConnection) -> None:
        for _ in range(2):
            with pytest.raises(expected):
                await connection.command("version")

    against(tmp_path, answering(answer), ask)


def test_a_stall_ends_in_time_and_closes_the_connection(tmp_path: Path) -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x00\x00\x09\x01")
        await reader.read()

    async def ask(connection: ViciConnection) -> None:
        with pytest.raises(ViciNoAnswer, match=r"within 0\.01 s"):
            await connection.command("version", timeout=0.01)
        with pytest.raises(ViciNoAnswer, match=r"within 0\.01 s"):
            await connection.command("version")

    against(tmp_path, peer, ask)


def test_a_cancelled_command_leaves_no_answer_to_the_next(tmp_path: Path) -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def ask(connection: ViciConnection) -> None:
        task = asyncio.create_task(connection.command("version"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with pytest.raises(ViciUnreadable, match="not waited for"):
            await connection.command("version")

    against(tmp_path, peer, ask)


def test_commands_take_turns(tmp_path: Path) -> None:
    async def ask(connection: ViciConnection) -> list[Section]:
        return [*await asyncio.gather(connection.command("a"), connection.command("b"))]

    peer = answering(response({"n": "1"}), response({"n": "2"}))
    assert against(tmp_path, peer, ask) == [{"n": b"1"}, {"n": b"2"}]


def test_an_absent_socket_is_said_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ViciUnavailable, match="nowhere"):
        asyncio.run(ViciSocket(tmp_path / "nowhere").connect())
