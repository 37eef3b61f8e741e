"""The interfaces through which charon is reached (tests simulate it here), and what it is asked. Pure."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from mcastd.errors import DecodeError, ViciRefused, ViciUnreadable
from mcastd.ipsec.contents import Connection, Contents
from mcastd.ipsec.sas import IkeSa, Section, as_text, ike_sas

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


async def list_conns(control: Vici) -> dict[str, Connection]:
    """Return all loaded connections by name, also those that another program loaded."""
    found: dict[str, Connection] = {}
    await control.command("list-conns", stream="list-conn", on_event=lambda _name, conns: found.update(as_text(conns)))
    return found


async def list_contents(control: Vici, *, certificates: bool) -> Contents:
    """Return what charon has loaded; ``certificates``: also what certificates need. Some milliseconds."""
    connections, shared = await list_conns(control), await list_names(control, "get-shared", "keys")
    if not certificates:
        return Contents(connections, shared)
    keys = await list_names(control, "get-keys", "keys")
    authorities = await list_names(control, "get-authorities", "authorities")
    return Contents(connections, shared, keys, authorities, await _certificates(control))


async def list_names(control: Vici, command: str, key: str) -> frozenset[str] | None:
    """Return the names that a command lists; None where charon does not know it."""
    try:
        names = (await control.command(command)).get(key, [])
    except ViciRefused:
        return None
    return frozenset(name.decode(errors="replace") for name in names if isinstance(name, bytes))


async def _certificates(control: Vici) -> frozenset[bytes] | None:
    found: list[Section] = []
    try:
        await control.command(
            "list-certs", {"type": "X509"}, stream="list-cert", on_event=lambda _, one: found.append(one)
        )
    except ViciRefused:
        return None
    return frozenset(data for one in found if isinstance(data := one.get("data"), bytes))


async def remove(control: Vici, command: str, message: Mapping[str, Any]) -> None:
    """Run a command that removes or replaces something; a refusal means that it is gone already."""
    with suppress(ViciRefused):
        await control.command(command, message)
