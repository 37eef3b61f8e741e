"""Takes down what a daemon that has ended left standing. It begins nothing: no connection is loaded, no SA initiated.

Prunes and the goodbye leave only through tunnels that are still up, on SAs that are still up. What the ledger does not
have is found by its marks.
"""

from contextlib import closing
from pathlib import Path
from random import Random
from typing import Final

from mcastd import wiring
from mcastd.composition import REAL, Composition, System
from mcastd.config.model import Config
from mcastd.errors import HostError, ViciError
from mcastd.handover import Handover
from mcastd.ipsec.charon import Charon, list_sas
from mcastd.ipsec.messages import PeerWithKey
from mcastd.system.log import Logger
from mcastd.wiring import Inputs, Up

_KINDS: Final = ("link", "endpoint", "rule", "nftables", "sysctl", "vici-conn")


async def clean_up(config: Config, directory: Path, log: Logger, system: System = REAL) -> None:
    """Take everything down; a no-op where nothing was left. Raises HostError for what could not be."""
    agents = Composition(config, lambda: None, log, Random(), system, directory)
    handover = Handover(directory, agents.pim, log)
    peers = tuple(PeerWithKey(peer, None) for peer in config.peers)
    links = await agents.tunnels.standing(config)
    up = await _established(system.charon(config.daemon.vici_socket))
    carried = {tunnel.name for tunnel in config.tunnels if tunnel.child is None or tunnel.child in up}
    handover.inherit([tunnel.name for tunnel in config.tunnels if tunnel.pim is not None])
    standing = {name: link for name, link in links.items() if name in carried}
    agents.pim.take_leave(wiring.pim(Inputs(config, peers, Up(links=standing))))
    agents.prepare(peers)
    await agents.close()
    handover.forget()
    (directory / config.daemon.control_socket.name).unlink(missing_ok=True)  # of a daemon that was killed
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
