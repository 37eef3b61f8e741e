"""What the overlay agent is configured with. Pure."""

import msgspec

from mcastd.config.downstream import Overlay


class OverlayLink(msgspec.Struct, frozen=True):
    """One overlay; after ``ageing`` seconds without a packet the kernel forgets by which endpoint a host is reached.

    While it is not ``guarded``, what comes from no member would be taken, and it counts as down. While it is
    ``asking``, not all machines have had the time to say what they want, and no entry is removed.
    """

    config: Overlay
    ageing: int
    guarded: bool
    asking: bool


class OverlayDesired(msgspec.Struct, frozen=True):
    """All overlays."""

    overlays: tuple[OverlayLink, ...] = ()
