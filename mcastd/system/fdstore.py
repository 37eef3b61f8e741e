"""Descriptors that outlive the process, in systemd's file descriptor store (sd_notify(3), FDSTORE=1).

What is stored comes back at the next start, by name, as the descriptors 3, 4, ... (sd_listen_fds(3)), after a restart
and after a crash alike. Without a service manager nothing is stored.
"""

import os
from collections.abc import Mapping
from typing import Self

from mcastd.system.notify import notify

_FIRST = 3


class FdStore:
    """``found`` are the descriptors that an earlier life left, by name; each belongs to whoever takes it."""

    def __init__(self, found: Mapping[str, int] | None = None) -> None:
        self._found = dict(found or {})

    @classmethod
    def inherited(cls) -> Self:
        """The store as the service manager hands it over; taken out of the environment, for it is ours alone."""
        passed = {name: os.environ.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES")}
        if passed["PID"] != str(os.getpid()) or not passed["FDS"].isdecimal():
            return cls()
        descriptors = range(_FIRST, _FIRST + int(passed["FDS"]))
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        return cls(dict(zip(passed["FDNAMES"].split(":"), descriptors, strict=False)))

    def has(self, name: str) -> bool:
        """Whether a descriptor of that name was left and nobody has taken it."""
        return name in self._found

    def take(self, name: str) -> int | None:
        """A descriptor that was left, now the caller's; it stays in the store."""
        return self._found.pop(name, None)

    def keep(self, name: str, descriptor: int) -> None:
        """Leave a descriptor to the next life, in place of an earlier one of that name."""
        self.drop(name)
        # Not watched: systemd would throw a socket out at the first ICMP error that waits in it.
        notify(f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0", [descriptor])

    def drop(self, name: str) -> None:
        """Leave no descriptor of that name, so that what it holds open can go."""
        left = self._found.pop(name, None)
        if left is not None:
            os.close(left)
        notify(f"FDSTOREREMOVE=1\nFDNAME={name}")
