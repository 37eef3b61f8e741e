"""systemd's file descriptor store: descriptors that stay open while the process is replaced (sd_notify(3), FDSTORE=1).

What is stored is passed to the next process by name, after a restart and after a crash (sd_listen_fds(3)). Reading what
was passed takes systemd's Python library; without it nothing is stored. Without a service manager nothing happens.
"""

import os
from collections.abc import Mapping
from typing import Self

from mcastd.system.log import Logger
from mcastd.system.notify import notify


class FdStore:
    """``found`` are the descriptors that the previous process stored, by name; ``usable`` False stores nothing."""

    def __init__(self, found: Mapping[str, int] | None = None, *, usable: bool = True) -> None:
        self._found = dict(found or {})  # inherited and not yet taken, by name
        self._usable = usable

    @classmethod
    def inherited(cls, log: Logger) -> Self:
        """The store as the service manager passes it; a second call finds nothing. Logs if the library is missing."""
        try:
            from systemd import daemon
        except ImportError:
            if "NOTIFY_SOCKET" in os.environ:
                log.warning("fdstore_unavailable", missing="systemd-python")
            return cls(usable=False)
        return cls({name: descriptor for descriptor, name in daemon.listen_fds_with_names().items()})

    def has(self, name: str) -> bool:
        """Whether a descriptor of that name was inherited and is not taken yet."""
        return name in self._found

    def names(self, prefix: str) -> list[str]:
        """The names of descriptors that were inherited and are not taken yet, those that begin with ``prefix``."""
        return [name for name in self._found if name.startswith(prefix)]

    def take(self, name: str) -> int | None:
        """An inherited descriptor, which the caller owns from now on; it stays in the store as well."""
        return self._found.pop(name, None)

    def keep(self, name: str, descriptor: int) -> None:
        """Store a descriptor for the next process, in place of any other of that name."""
        self.drop(name)
        if self._usable:
            # FDPOLL=0: otherwise systemd removes a socket from the store at the first ICMP error queued on it.
            notify(f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0", [descriptor])

    def drop(self, name: str) -> None:
        """Remove the descriptors of that name, so that what they hold open can be closed."""
        inherited = self._found.pop(name, None)
        if inherited is not None:
            os.close(inherited)
        notify(f"FDSTOREREMOVE=1\nFDNAME={name}")
