"""Takes down what a daemon that has ended left standing. It begins nothing: no connection is loaded, no SA initiated.

Prunes and the goodbye leave only on SAs that are still up: through the tunnel's interface or, where that is gone (one
in user space is gone with its process), as GRE of a raw socket. What the ledger does not have is found by its marks.
"""

from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Final

from msgspec.structs import replace

from mcastd import wiring
from mcastd.adapters import REAL, System
from mcastd.composition import Composition
from mcastd.config.model import Config, Tunnel
from mcastd.errors import HostError, ViciError
from mcastd.handover import Handover
from mcastd.ipsec.charon import Charon, list_sas
from mcastd.ipsec.messages import PeerWithKey
from mcastd.pim.settings import PimInterface
from mcastd.pim.transport import Transport
from mcastd.system.log import Logger
from mcastd.tunnel.desired import LinkView
from mcastd.wiring import Inputs, Up

_MTU: Final = 1280  # bytes; where the interface and its MTU are gone, what fits anyway
_KINDS: Final = ("link", "endpoint", "rule", "qdisc", "nftables", "sysctl", "vici-conn")


async def clean_up(config: Config, directory: Path, log: Logger, system: System = REAL) -> None:
    """Take everything down; a no-op where nothing was left. Raises HostError for what could not be."""
    gone: dict[str, Tunnel] = {}  # tunnels without an interface, by name

    def open_pim(settings: PimInterface, on_arrival: Callable[[], None]) -> Transport:
        tunnel = gone.get(settings.name)
        return system.open_pim(settings, on_arrival) if tunnel is None else system.open_pim_over_gre(tunnel)

    agents = Composition(config, lambda: None, log, Random(), replace(system, open_pim=open_pim), directory)
    handover = Handover(directory, agents.pim, agents.wanted, log, agents.file_groups.paths)
    peers = tuple(PeerWithKey(peer, None) for peer in config.peers)
    links = await agents.tunnels.standing(config)
    up = await _established(system.charon(config.daemon.vici_socket))
    carried = {tunnel.name for tunnel in config.tunnels if tunnel.child is None or tunnel.child in up}
    handover.inherit(wiring.joining(config))
    gone.update((one.name, one) for one in config.tunnels if one.encapsulation == "gre" and one.name not in links)
    views = links | {name: LinkView(0, _MTU, one.address.ip, True, 1) for name, one in gone.items()}
    standing = {name: link for name, link in views.items() if name in carried}
    agents.want_file()
    await agents.follow.look(wiring.follow(Inputs(config, peers, Up(links=links))))
    agents.pim.take_leave(wiring.pim(Inputs(config, peers, Up(links=standing))))
    agents.prepare(peers)
    await agents.close()
    handover.forget()
    with suppress(OSError):
        (directory / config.daemon.control_socket.name).unlink()  # of a daemon that was killed
    left = [f"{kind} {key}" for kind in _KINDS for key in agents.ledger.entries(kind)]
    if left:
        raise HostError(f"this could not be taken down, the log says why: {', '.join(left)}")


async def _established(charon: Charon) -> frozenset[str]:
    """The CHILD_SAs that are up; none if charon does not answer."""
    try:
        with closing(await charon.connect()) as control:
            return frozenset(child.name for sa in await list_sas(control) for child in sa.children if child.up)
    except ViciError:
        return frozenset()
