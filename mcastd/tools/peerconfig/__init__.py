"""The other side's configuration, made from ours: the mirror image of the same agreement. Pure text, without the PSK.

``algorithms.py`` translates proposals, ``iosxe.py`` writes for Cisco IOS XE, ``linux.py`` for strongSwan and FRR.
"""

from typing import Final

PSK: Final = "<PSK>"
"""What stands for the pre-shared key."""

CISCO_PERIOD: Final = 10
"""Seconds between a Cisco's GRE keepalives, unless told otherwise."""

CISCO_RETRIES: Final = 3
"""After so many without an answer a Cisco takes its tunnel down, unless told otherwise."""
