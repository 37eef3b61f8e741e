"""What ``mcastd check`` finds beyond the file by itself: in the certificates, and on this host.

The daemon refuses nothing for it: a certificate that has expired must not keep the other peers down, and what the host
lacks at a start may come later.
"""

from mcastd.config.model import Config
from mcastd.config.report import Report
from mcastd.tools.check import access, applications, host
from mcastd.tools.check.facts import Facts


def check(config: Config, facts: Facts, report: Report) -> None:
    """Report every rule that the configuration violates."""
    if not (config.peers or config.tunnels or config.groups or config.downstream):
        text = "nothing is configured; allowed: at least one [tunnels.NAME] or [peers.NAME], as in etc/mcastd.toml"
        report.refuse((), text)
    _certificates(config, facts, report)
    host.check(config, facts, report)
    access.check(config, facts, report)
    applications.check(config, report)


def _certificates(config: Config, facts: Facts, report: Report) -> None:
    certified = [peer for peer in config.peers if peer.local_cert is not None]
    if not certified:
        return
    try:
        from mcastd.tools.check import certificates  # with a library that most files do not need
    except ImportError:
        text = "the certificates are not looked into: python3-cryptography is not installed"
        report.note(("peers", certified[0].name, "local_cert"), text)
    else:
        certificates.check(config, facts.now, report)
