"""bpf(2), by ctypes: maps, and programs of the type sched_cls (linux/bpf.h).

It takes CAP_BPF, and CAP_NET_ADMIN for the type of program. Descriptors are owned by who is given them.
"""

import asyncio
import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from typing import Final

from mcastd.errors import HostError
from mcastd.net.ebpf import MapKind

_CALL: Final = {"x86_64": 321, "aarch64": 280}  # the number of the system call
# enum bpf_cmd.
_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _PROG_LOAD, _INFO, _LOOKUP_BATCH = 0, 1, 2, 3, 5, 15, 24
_SCHED_CLS: Final = 3
_LICENCE: Final = ctypes.create_string_buffer(b"GPL")
_ATTRIBUTE: Final = 144  # bytes of union bpf_attr; those that a kernel does not know have to be 0
_LOG: Final = 1 << 20  # bytes for the verifier's log
_SHOWN: Final = 400  # characters of its end that are in an error
_MAP_INFO: Final = struct.Struct("=IIIIII16s")  # type, id, sizes of key and value, elements, flags, name
_PROGRAM_INFO: Final = struct.Struct("=II")  # type, id

_libc = ctypes.CDLL(None, use_errno=True)


def create_map(kind: MapKind) -> int:
    """The descriptor of a new map. Raises HostError."""
    body = struct.pack("=7I16s", kind.type, kind.key, kind.value, kind.entries, kind.flags, 0, 0, kind.name.encode())
    return _bpf(_MAP_CREATE, body, f"map {kind.name}")[0]


def is_map(descriptor: int, kind: MapKind) -> bool:
    """Whether a descriptor is of such a map."""
    info = ctypes.create_string_buffer(_MAP_INFO.size)
    try:
        _bpf(_INFO, struct.pack("=IIQ", descriptor, len(info), ctypes.addressof(info)), "descriptor")
    except HostError:
        return False
    found_type, _, key, value, entries, flags, name = _MAP_INFO.unpack(info.raw)
    found = MapKind(name.rstrip(b"\0").decode(errors="replace"), found_type, key, value, entries, flags)
    return found == kind


def program_id(descriptor: int) -> int:
    """What the kernel knows a program by. Raises HostError."""
    info = ctypes.create_string_buffer(_PROGRAM_INFO.size)
    _bpf(_INFO, struct.pack("=IIQ", descriptor, len(info), ctypes.addressof(info)), "program")
    found: int = _PROGRAM_INFO.unpack(info.raw)[1]
    return found


def lookup(descriptor: int, key: bytes, size: int) -> bytes | None:
    """The value of a key; None if the map does not have it. Raises HostError."""
    value = ctypes.create_string_buffer(size)
    found = _element(_MAP_LOOKUP, descriptor, key, value)
    return value.raw if found else None


def update(descriptor: int, key: bytes, value: bytes) -> None:
    """Set the value of a key. Raises HostError."""
    _element(_MAP_UPDATE, descriptor, key, ctypes.create_string_buffer(value, len(value)))


def delete(descriptor: int, key: bytes) -> None:
    """Remove a key; that it is not there is no error. Raises HostError."""
    _element(_MAP_DELETE, descriptor, key, None)


def elements(descriptor: int, kind: MapKind, count: int) -> Iterator[list[tuple[bytes, bytes]]]:
    """All that is in a map, about ``count`` at a time. Raises HostError."""
    # The kernel's mark of how far it has come: 4 bytes of a hash map, a key of a trie.
    batch, token = (ctypes.create_string_buffer(max(8, kind.key)) for _ in range(2))
    place = 0
    while True:
        keys, values = ctypes.create_string_buffer(count * kind.key), ctypes.create_string_buffer(count * kind.value)
        pointers = ctypes.addressof(batch) if place else 0, ctypes.addressof(token)
        places = *pointers, ctypes.addressof(keys), ctypes.addressof(values)
        body = struct.pack("=4QIIQQ", *places, count, descriptor, 0, 0)
        try:
            result, answer = _bpf(_LOOKUP_BATCH, body, f"map {kind.name}", errno.ENOENT)
        except HostError as error:
            # A bucket of the kernel's hash with more elements than there is room for.
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENOSPC:
                count *= 2
                continue
            raise
        found, names, contents = struct.unpack_from("=I", answer, 32)[0], keys.raw, values.raw
        yield [
            (names[one * kind.key : (one + 1) * kind.key], contents[one * kind.value : (one + 1) * kind.value])
            for one in range(found)
        ]
        if result < 0:
            return
        batch, token, place = token, batch, 1


def load(name: str, program: bytes) -> int:
    """The descriptor of a program of the type sched_cls. Raises HostError, with the end of the verifier's log."""
    code = ctypes.create_string_buffer(program, len(program))

    def attempt(log: ctypes.Array[ctypes.c_char] | None) -> int:
        level, size, address = (0, 0, 0) if log is None else (1, len(log), ctypes.addressof(log))
        body = struct.pack(
            "=IIQQIIQII16s",
            _SCHED_CLS, len(program) // 8, ctypes.addressof(code), ctypes.addressof(_LICENCE), level, size, address,
            0, 0, name.encode(),
        )  # fmt: skip
        return _bpf(_PROG_LOAD, body, f"program {name}")[0]

    try:
        return attempt(None)
    except HostError as error:
        log = ctypes.create_string_buffer(_LOG)
        try:
            return attempt(log)
        except HostError:
            shown = log.value.decode(errors="replace").strip()[-_SHOWN:]
            raise HostError(f"{error}; the verifier says: {shown}" if shown else str(error)) from error


async def load_aside(name: str, program: bytes) -> int:
    """What ``load`` does, in a thread: a kernel's verifier may take a second. Raises HostError."""
    return await asyncio.to_thread(load, name, program)


def _element(command: int, descriptor: int, key: bytes, value: ctypes.Array[ctypes.c_char] | None) -> bool:
    """Do something to one element; returns whether it is there."""
    name = ctypes.create_string_buffer(key, len(key))
    address = ctypes.addressof(value) if value is not None else 0
    body = struct.pack("=I4xQQQ", descriptor, ctypes.addressof(name), address, 0)
    return _bpf(command, body, "map", errno.ENOENT)[0] >= 0


def _bpf(command: int, body: bytes, what: str, *accepted: int) -> tuple[int, bytes]:
    """What the system call returns, -1 for an accepted error, and its attributes after it. Raises HostError."""
    call = _CALL.get(platform.machine())
    if call is None:
        raise HostError(f"bpf: not known for {platform.machine()}")
    attributes = ctypes.create_string_buffer(body, _ATTRIBUTE)
    result: int = _libc.syscall(call, command, attributes, _ATTRIBUTE)
    if result < 0 and (number := ctypes.get_errno()) not in accepted:
        why = "CAP_BPF and CAP_NET_ADMIN are needed" if number == errno.EPERM else os.strerror(number)
        raise HostError(f"bpf: {what}: {why}") from OSError(number, os.strerror(number))
    return result, attributes.raw
