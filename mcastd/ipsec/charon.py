"""The interfaces through which charon is reached (tests simulate it here), and what it is asked. Pure."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from mcastd.errors import DecodeError, ViciRefused, ViciUnreadable
from mcastd.ipsec.sas import IkeSa, Section, ike_sas

COMMAND_TIMEOUT: Final = 5.0

EventHandler = Callable[[str, Section], None]


class Vici(Protocol):
    """One VICI connection, for one command at a time or for events. Every method raises ViciError."""

    async def command(
        self,
        name: str,
        message: Mapping[str, Any] | None = None,
        *,
        stream: str | None = None,
        on_event: EventHandler | None = None,
        timeout: float = COMMAND_TIMEOUT,
    ) -> Section:
        """Run a command and return the answer; events of the type ``stream`` go to ``on_event`` until then."""

    async def register(self, *events: str) -> None:
        """Subscribe to events."""

    async def listen(self, on_event: EventHandler, log_marks: Sequence[bytes] = ()) -> None:
        """Pass every event to ``on_event`` until the connection breaks, which raises.

        Of ``log`` only those events in which one of ``log_marks`` occurs: charon logs every message of IKE.
        """

    def close(self) -> None:
        """Close the connection at once."""


class Charon(Protocol):
    """Opens VICI connections to charon."""

    async def connect(self) -> Vici:
        """Open a connection. Raises ViciError."""

    def has_socket(self) -> bool:
        """Whether the VICI socket exists; without one charon does not run."""


async def list_sas(control: Vici) -> tuple[IkeSa, ...]:
    """Return every IKE_SA with its CHILD_SAs, half-open ones too. Raises ViciUnreadable for an invalid value."""
    sections: list[Section] = []
    await control.command("list-sas", stream="list-sa", on_event=lambda _name, section: sections.append(section))
    try:
        return tuple(sa for section in sections for sa in ike_sas(section))
    except DecodeError as error:
        raise ViciUnreadable(f"charon listed an SA that cannot be read ({error.reason})") from error


async def list_conns(control: Vici) -> frozenset[str]:
    """Return the names of all loaded connections, also of those that another program loaded."""
    names: list[str] = []
    await control.command("list-conns", stream="list-conn", on_event=lambda _name, section: names.extend(section))
    return frozenset(names)


async def remove(control: Vici, command: str, message: Mapping[str, Any]) -> None:
    """Run a command that removes or replaces something; a refusal means that it is gone already."""
    with suppress(ViciRefused):
        await control.command(command, message)
