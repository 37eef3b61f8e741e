"""What does not go together in what a file says of SNAT."""

from collections.abc import Mapping
from itertools import combinations

from mcastd.config.lines import KeyPath
from mcastd.config.model import Child
from mcastd.config.report import Report


def find(children: Mapping[KeyPath, Child], report: Report) -> None:
    """Report every contradiction in the children's SNAT."""
    for path, child in children.items():
        if child.snat is None:
            _without_snat(child, path, report)
            continue
        local_ts = (*path, "local_ts")
        if child.snat not in child.local_ts:
            text = f"{child.snat} is outside local_ts of {child.name}, what leaves with it is not encrypted"
            report.contradiction((*path, "snat"), f"{text}; allowed: an address in {child.local_ts}", local_ts)
        if not child.snat_from and child.local_ts.prefixlen == 0:
            text = "every address is in local_ts, none is left for SNAT; allowed: the prefixes whose packets are meant"
            report.contradiction((*path, "snat_from"), text, local_ts)
    for (_, first), (path, second) in combinations(children.items(), 2):
        if first.remote_ts.overlaps(second.remote_ts) and _both(first, second):
            text = f"what goes to {second.remote_ts} may match the SNAT of {first.name} as well, which comes first"
            report.note((*path, "snat"), text)


def _without_snat(child: Child, path: KeyPath, report: Report) -> None:
    for key, used in (("snat_from", child.snat_from), ("snat_loopback", child.snat_loopback)):
        if used:
            text = "there is no snat; allowed: with snat, the address that these packets leave with"
            report.contradiction((*path, key), text, (*path, "snat"))


def _both(first: Child, second: Child) -> bool:
    """Whether a packet may be one that both children translate, as far as its source tells."""
    if first.snat is None or second.snat is None:
        return False
    if not first.snat_from or not second.snat_from:
        return True
    return any(one.overlaps(other) for one in first.snat_from for other in second.snat_from)
