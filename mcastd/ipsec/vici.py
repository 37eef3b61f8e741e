"""charon's VICI socket under asyncio: frames, strict decoding, one command at a time.

A frame is a 32-bit big-endian length and a packet. Packets have no sequence numbers, so a connection carries one
command at a time. The codec of the library ``vici`` raises ``struct.error``, ignores unknown elements and accepts
truncated values; it is used through this module only.
"""

import asyncio
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from vici.exception import DeserializationException
from vici.protocol import FiniteStream, Message, Packet

from mcastd.errors import DecodeError, ViciError, ViciNoAnswer, ViciRefused, ViciUnavailable, ViciUnreadable
from mcastd.ipsec.charon import COMMAND_TIMEOUT, EventHandler
from mcastd.ipsec.sas import Section

MAX_FRAME: Final = 512 * 1024
OPEN_TIMEOUT: Final = 2.0
_LOG: Final = bytes((Packet.EVENT, len("log"))) + b"log"  # what a frame with an event of that name begins with


class _Strict(FiniteStream):
    """A stream that raises DecodeError where fewer bytes are left than are read."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if size is not None and len(data) < size:
            raise DecodeError("vici-truncated")
        return data


def decode_message(data: bytes) -> Section:
    """Decode the elements of a packet. Raises DecodeError for what does not encode back to the same bytes."""
    try:
        message: Section = Message.deserialize(_Strict(data))
        again = Message.serialize(message)
    except UnicodeDecodeError as error:
        raise DecodeError("vici-name") from error
    except (DeserializationException, struct.error, RecursionError) as error:
        raise DecodeError("vici-structure") from error
    if again != data:
        raise DecodeError("vici-element")
    return message


def decode_packet(data: bytes) -> tuple[int, str, Section]:
    """Decode a packet into its type, the event's name (else empty) and its message. Raises DecodeError."""
    stream = _Strict(data)
    kind = stream.read(1)[0]
    if kind == Packet.EVENT:
        try:
            name = stream.read(stream.read(1)[0]).decode("ascii")
        except UnicodeDecodeError as error:
            raise DecodeError("vici-name") from error
        return kind, name, decode_message(stream.read())
    if kind == Packet.CMD_RESPONSE:
        return kind, "", decode_message(stream.read())
    if kind not in (Packet.CMD_UNKNOWN, Packet.EVENT_CONFIRM, Packet.EVENT_UNKNOWN):
        raise DecodeError("vici-type")
    if stream.has_more():
        raise DecodeError("vici-trailing")
    return kind, "", {}


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """Read one frame. Raises DecodeError for a length that is zero or over 512 KiB, IncompleteReadError at the end."""
    (length,) = struct.unpack("!I", await reader.readexactly(4))
    if not 0 < length <= MAX_FRAME:
        raise DecodeError("vici-length")
    return await reader.readexactly(length)


class ViciSocket(msgspec.Struct, frozen=True):
    """charon's VICI socket."""

    path: Path

    async def connect(self) -> "ViciConnection":
        """Connect. Raises ViciUnavailable if the socket is absent or refuses, ViciNoAnswer if charon hangs."""
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                reader, writer = await asyncio.open_unix_connection(self.path)
        except TimeoutError as error:
            raise ViciNoAnswer(f"charon does not answer on {self.path} within {OPEN_TIMEOUT:g} s") from error
        except OSError as error:
            raise ViciUnavailable(f"charon does not answer on {self.path}: {error.strerror}") from error
        return ViciConnection(reader, writer)

    def has_socket(self) -> bool:
        """Whether the socket exists."""
        return self.path.exists()


class ViciConnection:
    """One connection to charon. Any error closes it, and every command from then on raises the same error:

    ViciUnavailable if charon closed it, ViciNoAnswer if charon is silent, ViciUnreadable for invalid data.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._lock = asyncio.Lock()
        self._registered: set[str] = set()  # the events that charon sends to this connection
        self._broken: ViciError | None = None  # why it is closed

    async def command(
        self,
        name: str,
        message: Mapping[str, Any] | None = None,
        *,
        stream: str | None = None,
        on_event: EventHandler | None = None,
        timeout: float = COMMAND_TIMEOUT,
    ) -> Section:
        """Run a command and return charon's answer; events of the type ``stream`` go to ``on_event`` until then.

        Raises ViciRefused with charon's reason, ViciNoAnswer after ``timeout`` seconds, and the errors of the class.
        """
        async with self._lock:
            if stream is not None:
                await self._register(stream)
            payload = Message.serialize(message or {})
            kind, answer = await self._transact(Packet.request(name, payload), on_event, timeout)
        if kind != Packet.CMD_RESPONSE:
            raise ViciRefused(f"charon does not know the command {name}")
        if answer.get("success", b"yes") != b"yes":
            reason = answer.get("errmsg", b"no reason given")
            raise ViciRefused(reason.decode(errors="replace") if isinstance(reason, bytes) else "no reason given")
        return answer

    async def register(self, *events: str) -> None:
        """Subscribe to events. Raises ViciRefused for one that this charon does not know."""
        async with self._lock:
            for event in events:
                await self._register(event)

    async def listen(self, on_event: EventHandler, log_marks: Sequence[bytes] = ()) -> None:
        """Pass every event to ``on_event`` until the connection breaks, which raises.

        Of ``log`` only those events in which one of ``log_marks`` occurs; the others are not decoded.
        """
        async with self._lock:
            while True:
                kind, name, message = await self._receive(log_marks)
                if kind == Packet.EVENT:
                    on_event(name, message)

    def close(self) -> None:
        """Close at once."""
        self._break(ViciUnavailable("the connection to charon is closed"))

    def _break(self, error: ViciError) -> ViciError:
        self._broken = self._broken or error
        self._writer.close()
        return error

    async def _register(self, event: str) -> None:
        if event in self._registered:
            return
        kind, _ = await self._transact(Packet.register_event(event), None, COMMAND_TIMEOUT)
        if kind != Packet.EVENT_CONFIRM:
            raise ViciRefused(f"charon does not know the event {event}")
        self._registered.add(event)

    async def _transact(self, packet: bytes, on_event: EventHandler | None, timeout: float) -> tuple[int, Section]:
        try:
            async with asyncio.timeout(timeout):
                if self._broken is not None:
                    raise self._broken
                self._writer.write(struct.pack("!I", len(packet)) + packet)
                while True:
                    kind, name, message = await self._receive()
                    if kind != Packet.EVENT:
                        return kind, message
                    if on_event is not None:
                        on_event(name, message)
        except TimeoutError as error:
            raise self._break(ViciNoAnswer(f"charon did not answer within {timeout:g} s")) from error
        except asyncio.CancelledError:
            # The answer is still to come, and would be taken for that of the next command.
            self._break(ViciUnreadable("an answer of charon was not waited for"))
            raise

    async def _receive(self, log_marks: Sequence[bytes] = (b"",)) -> tuple[int, str, Section]:
        try:
            frame = await read_frame(self._reader)
            while frame.startswith(_LOG) and not any(mark in frame for mark in log_marks):
                frame = await read_frame(self._reader)
            return decode_packet(frame)
        except (OSError, EOFError) as error:
            raise self._break(ViciUnavailable("charon closed the connection")) from error
        except DecodeError as error:
            raise self._break(ViciUnreadable(f"charon sent what is not VICI ({error.reason})")) from error
