"""What the overlay agent should do; as ``mcastd.wiring``, pure.

firewall   the table is in place        -> overlay     others are refused: the interface may be up
igmp       how an election stands       -> overlay     whether all machines have said what they want
"""

from math import ceil
from typing import Final

from mcastd.config.downstream import Overlay
from mcastd.firewall.overlay import unguarded
from mcastd.igmp.settings import IgmpInterface, Timing
from mcastd.overlay.desired import OverlayDesired, OverlayLink
from mcastd.wiring import Inputs

_MARGIN: Final = 2  # ageing, in membership times: another querier's may be longer than ours


def overlay(inputs: Inputs) -> OverlayDesired:
    """The overlays of the configuration."""
    up, elections = inputs.up, inputs.up.elections
    exposed = frozenset[str]() if up.guard_in_place else unguarded(inputs.config, up.standing)
    return OverlayDesired(
        tuple(
            OverlayLink(
                config,
                ageing=_ageing(config),
                guarded=config.name not in exposed,
                asking=config.name not in elections or not elections[config.name].is_complete,
            )
            for config in inputs.config.overlay
        )
    )


def _ageing(config: Overlay) -> int:
    """Seconds; each that is a member still has answered a query within them."""
    own = IgmpInterface.of(config, config.address.ip, 0).timing
    return ceil(_MARGIN * max(own.group_membership_interval, Timing().group_membership_interval))
