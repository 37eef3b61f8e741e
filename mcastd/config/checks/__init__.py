"""The rules for keys that are each valid by themselves: one function for each rule, by the kind of table.

Values that are wrong by themselves take no part: a rule names the keys that it is about, and nothing is reported if one
of them is wrong already.
"""

from mcastd.config.checks import (
    algorithms,
    children,
    feeds,
    forward,
    gateways,
    groups,
    host,
    metrics,
    overlay,
    peers,
    pim,
    sides,
    tunnels,
    upstream,
)
from mcastd.config.model import Config
from mcastd.config.report import Report

__all__ = ["check", "host"]


def check(config: Config, report: Report) -> None:
    """Report every rule that the configuration violates."""
    tables = (peers, gateways, algorithms, children, tunnels, pim, upstream, groups, feeds, forward, overlay)
    for part in (*tables, metrics, sides):
        part.check(config, report)
