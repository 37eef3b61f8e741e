"""Sysctls under /proc/sys."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Protocol

from mcastd.errors import HostError
from mcastd.system import rtnetlink

_ROOT = Path("/proc/sys")


class Sysctls(Protocol):
    """The functions of this module, as the agents use them; tests replace them."""

    def read(self, name: str) -> str | None:
        """The value of a sysctl; None if it does not exist. Raises HostError."""

    def write(self, name: str, value: str) -> None:
        """Set a sysctl. Raises HostError."""

    def changes(self) -> AbstractContextManager[AsyncIterator[None]]:
        """Notifications of changes of forwarding and of ``rp_filter``. Raises HostError."""


def read(name: str) -> str | None:
    """The value of a sysctl, such as ``net/ipv4/conf/gre1/rp_filter``; None if it does not exist. Raises HostError."""
    try:
        return (_ROOT / name).read_text().strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HostError(f"sysctl {name}: {error.strerror}") from error


def write(name: str, value: str) -> None:
    """Set a sysctl. Raises HostError if the kernel refuses the value."""
    try:
        (_ROOT / name).write_text(value)
    except OSError as error:
        raise HostError(f"sysctl {name} = {value}: {error.strerror}") from error


@contextmanager
def changes() -> Iterator[AsyncIterator[None]]:
    """Receive a notification after changes of ``net/ipv4/ip_forward`` and of ``rp_filter``. Raises HostError."""
    with closing(rtnetlink.Changes(rtnetlink.SYSCTLS)) as found:
        yield aiter(found)
