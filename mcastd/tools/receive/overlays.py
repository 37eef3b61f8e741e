"""A receiver of an overlay, as the configuration of the head end has it. Pure."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface

from mcastd.config.downstream import Overlay
from mcastd.config.model import Config
from mcastd.net.prefix_table import in_ranges
from mcastd.tools.receive.commands import Receiver

Refuse = Callable[[str, str], Exception]
"""Makes an error of the option and of what is wrong with it."""


def receiver(
    config: Config,
    refuse: Refuse,
    *,
    overlay: str | None = None,
    local: IPv4Address | None = None,
    address: IPv4Interface | None = None,
    further: tuple[IPv4Address, ...] = (),
) -> Receiver:
    """A receiver of the overlay of that name, or of the only one; ``further`` are head ends beside that of the file.

    Raises what ``refuse`` makes.
    """
    found = _overlay(config, refuse, overlay)
    members = ", ".join(map(str, found.members))
    if local is not None and (local == found.local or not in_ranges(local, found.members)):
        raise refuse("--local", f"{local} may not take part in {found.name}; allowed: another address in {members}")
    on_it = found.address.network
    if address is not None and (address.network != on_it or address.ip == found.address.ip):
        example = next(host for host in on_it.hosts() if host != found.address.ip)
        raise refuse("--address", f"{address} is not for a receiver; allowed: such as {example}/{on_it.prefixlen}")
    return Receiver(
        device=found.name,
        vni=found.vni,
        port=found.port,
        head_ends=tuple(dict.fromkeys((found.local, *further))),
        address=str(address) if address is not None else f"<ADDRESS>/{on_it.prefixlen}",
        local=str(local) if local is not None else None,
        groups=found.groups,
    )


def _overlay(config: Config, refuse: Refuse, name: str | None) -> Overlay:
    named = [one for one in config.overlay if name in (None, one.name)]
    if len(named) == 1:
        return named[0]
    wrong = "there are several" if name is None and named else f"there is no overlay{f' {name}' if name else ''}"
    allowed = ", ".join(f"--overlay {one.name}" for one in config.overlay) or "a file with [overlay.NAME]"
    raise refuse("--overlay", f"{wrong}; allowed: {allowed}")
