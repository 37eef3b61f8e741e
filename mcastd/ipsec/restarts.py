"""Establishes CHILD_SAs again whose path is dead, and probes those whose path is silent (``probe``)."""

from collections.abc import Mapping

from mcastd.ipsec import messages
from mcastd.ipsec.charon import Vici, remove
from mcastd.ipsec.probe import Probes, Rekey, Target
from mcastd.ipsec.state import IpsecDesired, PeerState
from mcastd.ipsec.teardown import terminate_child, terminate_ike
from mcastd.system.log import Logger


class Restarts:
    """Acts on ``IpsecDesired.restarts`` and ``IpsecDesired.probes``."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._done: dict[str, int] = {}  # by CHILD_SA, the restart that was acted on last
        self._probes = Probes()

    def next_deadline(self) -> float | None:
        """When ``apply`` is to be called next, if nothing else happens."""
        return self._probes.next_deadline()

    async def apply(self, control: Vici, desired: IpsecDesired, peers: Mapping[str, PeerState], now: float) -> bool:
        """Rekey and terminate what is due; returns whether anything was terminated, so that the listing is outdated.

        If the peer does not answer, the IKE_SA is terminated too. A CHILD_SA that is not up is being tried already.
        """
        up = {name: target for peer in peers.values() for name, target in _targets(peer)}
        restarts = desired.restarts
        due = {name: up[name] for name in restarts.keys() & up.keys() if self._done.get(name, 0) != restarts[name][0]}
        for name, target in due.items():
            self._log.warning("child_sa_restarted", peer=target.peer, child=name, reason=restarts[name][1])
            await terminate_child(control, target.peer, name, target.ike)
        self._done = {name: number for name, (number, _) in restarts.items()}
        terminated = bool(due)
        left = {name: target for name, target in up.items() if name not in due}
        for effect in self._probes.update(desired.probes, left, now):
            target = effect.target
            if isinstance(effect, Rekey):
                say = self._log.debug if effect.again else self._log.info
                say("child_sa_probed", peer=target.peer, child=effect.child, reason=effect.reason)
                await remove(control, "rekey", messages.rekey(target.number))
            else:
                self._log.warning("child_sa_restarted", peer=target.peer, child=effect.child, reason=effect.reason)
                await terminate_ike(control, target.ike)
                terminated = True
        return terminated


def _targets(peer: PeerState) -> list[tuple[str, Target]]:
    """The CHILD_SAs of a peer that are up, by name."""
    if (ike := peer.sa) is None:
        return []
    waits = bool(ike.tasks_active)
    found = [(name, child.sa) for name, child in peer.children.items() if child.sa is not None]
    return [(name, Target(peer.name, ike.uniqueid, sa.uniqueid, sa.spi_in, waits)) for name, sa in found]
