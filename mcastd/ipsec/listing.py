"""What charon has: its SAs and its connections."""

from mcastd.errors import DecodeError, ViciUnreadable
from mcastd.ipsec.messages import IkeSa, Section, ike_sas
from mcastd.ipsec.vici import ViciConnection


async def list_sas(control: ViciConnection) -> tuple[IkeSa, ...]:
    """Every IKE_SA with its children, half open ones too. Raises ViciUnreadable where a value is not what it says."""
    sections: list[Section] = []
    await control.command("list-sas", stream="list-sa", on_event=lambda _name, section: sections.append(section))
    try:
        return tuple(sa for section in sections for sa in ike_sas(section))
    except DecodeError as error:
        raise ViciUnreadable(f"charon listed an SA that cannot be read ({error.reason})") from error


async def list_conns(control: ViciConnection) -> frozenset[str]:
    """The names of all connections that are loaded, whoever loaded them."""
    names: list[str] = []
    await control.command("list-conns", stream="list-conn", on_event=lambda _name, section: names.extend(section))
    return frozenset(names)
