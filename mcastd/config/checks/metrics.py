"""The rule for ``[metrics]``."""

from mcastd.config.model import Config
from mcastd.config.report import Report


def check(config: Config, report: Report) -> None:
    """The address is one that a host can have; if others reach it, that is worth a note: there is no password."""
    listen, at = config.metrics.listen, report.table("metrics")
    if listen is None or listen.address.is_loopback:
        return
    if listen.address.is_multicast or listen.address.is_reserved:
        text = f"{listen.address} is no address of a host; allowed: 127.0.0.1, an address of this host, 0.0.0.0 for all"
        at.refuse("listen", text)
    else:
        text = f"other hosts that reach {listen} can read all metrics: there is no password; let a firewall limit it"
        at.note("listen", text)
