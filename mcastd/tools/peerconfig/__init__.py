"""``mcastd peer-config``: the other side's configuration, the mirror image of ours. Pure text, without the PSK.

``algorithms.py`` translates proposals, ``iosxe.py`` writes for Cisco IOS XE, ``linux.py`` for strongSwan and FRR.
"""

from typing import Final

# What stands for values that our configuration does not have.
PSK: Final = "<PSK>"
OUTSIDE: Final = "<OUTSIDE-INTERFACE>"
INSIDE: Final = "<INSIDE-INTERFACE>"
PUBLIC: Final = "<PUBLIC-ADDRESS>"
TUNNEL_ADDRESS: Final = "<TUNNEL-ADDRESS>"

CISCO_PERIOD: Final = 10
"""Seconds between the GRE keepalives of a Cisco by default."""

CISCO_RETRIES: Final = 3
"""Unanswered keepalives after which a Cisco takes its tunnel down by default."""
