"""The rule for ``[metrics]``."""

from mcastd.config.model import Config
from mcastd.config.report import Report


def check(config: Config, report: Report) -> None:
    """What is open to other hosts is worth a note: there is no encryption and no password."""
    listen = config.metrics.listen
    if listen is not None and not listen.address.is_loopback:
        text = f"other hosts that reach {listen} can read all metrics: there is no password; let a firewall limit it"
        report.table("metrics").note("listen", text)
