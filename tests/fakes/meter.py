"""bpf(2) and classifiers on interfaces, in memory: maps that hold what a test puts into them, and who looks at what.

A map is as long as there is a descriptor of it, the kernel's rule, is not modelled: it stays.
"""

import os
from collections.abc import Iterator

from mcastd.errors import HostError
from mcastd.net.ebpf import MapKind


class FakeBpf:
    """``mcastd.meter.agent.Bpf``. ``refuses`` is why everything fails."""

    def __init__(self) -> None:
        self.refuses: str | None = None
        self.maps: dict[int, tuple[MapKind, dict[bytes, bytes]]] = {}  # by the inode of the descriptor
        self.verifier: str | None = None  # why it refuses all programs
        self.tried = self.loaded = 0  # how many programs were
        self._ids: dict[int, int] = {}  # of programs, by the inode

    def named(self, name: str) -> dict[bytes, bytes]:
        """What is in the last map of that name."""
        return [content for kind, content in self.maps.values() if kind.name == name][-1]

    def create_map(self, kind: MapKind) -> int:
        self._require()
        descriptor = os.memfd_create(kind.name)
        self.maps[_inode(descriptor)] = kind, {}
        return descriptor

    def is_map(self, descriptor: int, kind: MapKind) -> bool:
        found = self.maps.get(_inode(descriptor))
        return found is not None and found[0] == kind

    def lookup(self, descriptor: int, key: bytes, size: int) -> bytes | None:
        self._require()
        return self.maps[_inode(descriptor)][1].get(key)

    def update(self, descriptor: int, key: bytes, value: bytes) -> None:
        self._require()
        self.maps[_inode(descriptor)][1][key] = value

    def delete(self, descriptor: int, key: bytes) -> None:
        self._require()
        self.maps[_inode(descriptor)][1].pop(key, None)

    def elements(self, descriptor: int, kind: MapKind, count: int) -> Iterator[list[tuple[bytes, bytes]]]:
        self._require()
        found = list(self.maps[_inode(descriptor)][1].items())
        for begin in range(0, len(found), count):
            yield found[begin : begin + count]

    async def load_aside(self, name: str, program: bytes) -> int:
        self._require()
        self.tried += 1
        if self.verifier is not None:
            raise HostError(self.verifier)
        descriptor = os.memfd_create(name)
        self.loaded += 1
        self._ids[_inode(descriptor)] = self.loaded
        return descriptor

    def program_id(self, descriptor: int) -> int:
        return self._ids[_inode(descriptor)]

    def _require(self) -> None:
        if self.refuses is not None:
            raise HostError(self.refuses)


class FakeIngress:
    """``mcastd.meter.agent.Ingress``: ``programs`` are those attached, by the interface's index."""

    def __init__(self) -> None:
        self.programs: dict[int, int] = {}
        self.qdiscs: set[int] = set()
        self.others: set[int] = set()  # interfaces with a qdisc that another program made or uses
        self.refuses: set[int] = set()  # interfaces to which nothing can be attached
        self.attachments = 0
        self.is_stuck = False  # whether nothing can be detached

    async def attach(self, index: int, program: int, number: int) -> bool | None:
        os.fstat(program)
        if self.programs.get(index) == number:
            return None
        if index in self.refuses:
            raise HostError("filter: No such device")
        self.programs[index] = number
        self.attachments += 1
        is_new = index not in self.qdiscs | self.others
        self.qdiscs.add(index)
        return is_new

    async def detach(self, index: int) -> None:
        if self.is_stuck:
            raise HostError("netlink: Too many open files")
        self.programs.pop(index, None)

    async def remove_qdisc(self, index: int) -> None:
        if index not in self.others:
            self.qdiscs.discard(index)


def _inode(descriptor: int) -> int:
    return os.fstat(descriptor).st_ino
