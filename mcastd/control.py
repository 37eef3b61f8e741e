"""The control socket: one JSON line asks, one JSON line answers.

``{"command": "status", "arguments": {}}`` is answered by ``{"ok": true, "result": ...}`` or, where the daemon will not,
by ``{"ok": false, "error": "why"}``.
"""

import asyncio
import contextlib
import socket
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from mcastd.errors import ControlError, ControlRefused, HostError, McastdError

if TYPE_CHECKING:  # the commands are clients, which do not log
    from mcastd.system.log import Logger

_LINE_LIMIT = 64 * 1024
_IDLE_TIMEOUT = 10.0  # seconds for a request to arrive, and for its answer to be taken
_CLIENTS = 64  # connections at once; one more closes the one that has been idle longest
QUICK = 2.0
"""Seconds that a client waits for the answer to a command that the daemon answers at once."""

T = TypeVar("T")
Handler = Callable[[dict[str, Any]], Awaitable[Any]]


class Request(msgspec.Struct, frozen=True):
    """One question."""

    command: str
    arguments: dict[str, Any] = {}


class Response(msgspec.Struct, frozen=True, omit_defaults=True):
    """One answer: a result, or an error in words."""

    ok: bool
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""


class ControlServer:
    """Answers questions with the handlers it was given, one a command."""

    def __init__(self, path: Path, handlers: Mapping[str, Handler], log: "Logger") -> None:
        self._path = path
        self._handlers = handlers
        self._log = log
        self._server: asyncio.Server | None = None
        self._idle: dict[asyncio.StreamWriter, None] = {}  # connections without a request, the longest first
        self._connections = 0
        self._inode = 0  # of the socket that it listens on

    async def start(self) -> None:
        """Listen. A socket that a crashed daemon left is replaced; the caller holds the lock that says it crashed.

        Raises HostError where the host does not let us, for instance when the path is too long for a socket.
        """
        try:
            self._path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._serve, self._path, limit=_LINE_LIMIT)
            self._path.chmod(0o660)
            self._inode = self._path.stat().st_ino
        except OSError as error:
            raise HostError(f"control socket {self._path}: {error.strerror or error}") from error

    async def keep(self) -> None:
        """Listen, again if the socket was removed. Raises HostError."""
        try:
            is_there = self._server is not None and self._path.stat().st_ino == self._inode
        except OSError:
            is_there = False
        if not is_there:
            if self._server is not None:
                self._server.close()
            await self.start()

    async def close(self) -> None:
        """Stop listening, and remove the socket unless it is another daemon's by now."""
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(OSError):
                if self._path.stat().st_ino == self._inode:
                    self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        if self._connections > _CLIENTS:
            longest = next(iter(self._idle), writer)
            self._idle.pop(longest, None)  # at once: many may come in one turn of the loop
            longest.close()
        try:
            while not writer.is_closing():
                self._idle[writer] = None
                async with asyncio.timeout(_IDLE_TIMEOUT):
                    line = await reader.readline()
                self._idle.pop(writer, None)
                if not line:
                    return
                answer = await self._answer(line)
                async with asyncio.timeout(_IDLE_TIMEOUT):
                    writer.write(answer + b"\n")
                    await writer.drain()
        except (TimeoutError, ConnectionError, ValueError, asyncio.CancelledError):
            # A client that idles, goes away or sends an endless line loses its connection, nothing more; at the
            # daemon's end the loop cancels what is left.
            writer.transport.abort()  # close() would wait until the client has taken what was written
        finally:
            self._connections -= 1
            self._idle.pop(writer, None)
            writer.close()

    async def _answer(self, line: bytes) -> bytes:
        try:
            request = msgspec.json.decode(line, type=Request)
        except (msgspec.DecodeError, RecursionError) as error:
            return _refusal(f"not a request: {error}")
        handler = self._handlers.get(request.command)
        if handler is None:
            return _refusal(f"unknown command {request.command!r}; known: {', '.join(self._handlers)}")
        try:
            result = await handler(request.arguments)
            await asyncio.sleep(0)  # 10,000 groups take some milliseconds to encode, and others a turn before
            return b'{"ok":true,"result":%b}' % msgspec.json.encode(result)
        except McastdError as error:
            return _refusal(str(error))
        except Exception as error:  # one command fails, and not the daemon
            self._log.error("command_failed", command=request.command, problem=traceback.format_exc())
            return _refusal(f"internal error: {type(error).__name__}: {error}")


def _refusal(error: str) -> bytes:
    return msgspec.json.encode(Response(ok=False, error=error))


def ask(path: Path, command: str, arguments: Mapping[str, Any] | None = None, timeout: float = QUICK) -> bytes:
    """Send a command to the daemon and return the JSON of its result.

    Raises ControlError if no answer arrives within ``timeout`` seconds, ControlRefused if the daemon reports an error.
    """
    request = msgspec.json.encode(Request(command, dict(arguments or {}))) + b"\n"
    try:
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as sock:
            sock.settimeout(timeout)
            sock.connect(str(path))
            sock.sendall(request)
            with sock.makefile("rb") as answers:
                line = answers.readline()
    except (TimeoutError, BlockingIOError) as error:
        raise ControlError(
            f"mcastd did not answer on {path} within {timeout:g} s: it hangs or is overloaded. Look at "
            "systemctl status mcastd and journalctl -u mcastd; systemctl restart mcastd keeps tunnels and joins"
        ) from error
    except OSError as error:
        why = error.strerror or str(error)
        denied = isinstance(error, PermissionError)
        hint = "It answers root and the group mcastd" if denied else "Is it running (systemctl status mcastd)?"
        raise ControlError(f"no mcastd answers on {path}: {why}. {hint}") from error
    if not line:
        raise ControlError(f"mcastd closed {path} without an answer; it may be stopping")
    try:
        response = msgspec.json.decode(line, type=Response)
    except msgspec.DecodeError as error:
        raise ControlError(f"{path}: not an answer of mcastd: {error}") from error
    if not response.ok:
        raise ControlRefused(response.error)
    return bytes(response.result)


def decode(answer: bytes, kind: type[T]) -> T:
    """The result of a command. Raises ControlError if the daemon is of a version that answers in another form."""
    try:
        return msgspec.json.decode(answer, type=kind)
    except msgspec.DecodeError as error:
        raise ControlError(
            f"the running mcastd answers in another form ({error}): it is of another version than this command. "
            "systemctl restart mcastd runs the version that is installed, and keeps tunnels and joins"
        ) from error
