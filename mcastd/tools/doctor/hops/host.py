"""The hops on this host: privilege, configuration, kernel, daemon, charon."""

from typing import Final

from mcastd.config import charon_settings
from mcastd.config.digest import digest
from mcastd.config.model import Config
from mcastd.config.report import dotted
from mcastd.firewall import rules
from mcastd.tools.doctor.facts import Facts, Feature
from mcastd.tools.doctor.finding import Cause, Note, here
from mcastd.tools.doctor.hops import Found

_LISTED: Final = 3  # errors of the configuration


class Host(Cause):
    """What the hops on this host can find."""

    NOT_PRIVILEGED = here(
        "without privilege the doctor cannot observe what passes on the tunnels", "run it as root: sudo mcastd doctor"
    )
    CONFIGURATION_REFUSED = here(
        "the file is refused as a whole: a running daemon keeps its previous configuration, a new one does not start",
        "correct the lines, check with `mcastd check`, then `mcastd reload`",
    )
    KERNEL_LACKS = here(
        "this host cannot build what the configuration requires",
        "install the package, or a kernel that has the module (the minimal kernels of clouds lack some: "
        "linux-modules-extra), or choose a mode that does not need it",
    )
    DAEMON_SILENT = here(
        "mcastd does not run, hangs, or runs with another configuration file",
        "systemctl status mcastd; journalctl -u mcastd; systemctl start mcastd; after a start run the doctor again",
    )
    NOT_LOADED = here("the file was changed after the daemon read it", "mcastd reload")
    CHARON_ABSENT = here(
        "strongSwan's daemon charon does not run or hangs, or mcastd has no access to its socket",
        "install charon-systemd, systemctl restart strongswan; the socket is daemon.vici_socket in the configuration",
    )
    CHARON_UNCLEAR = here(
        "charon runs, but hangs or gives answers that mcastd cannot read; its SAs may differ from those last listed",
        "journalctl -u strongswan; if it persists: systemctl restart strongswan, which interrupts the SAs for a moment",
    )
    CHARON_REFUSES = here(
        "charon refuses the connection that mcastd loads",
        "rename the peer, remove the other connection, or load the plugin for the algorithm that charon names",
    )
    FOREIGN_SELECTORS = here(
        "another program has a connection or an SA with the traffic selectors of a CHILD_SA of the file: the two take "
        "turns, or it takes the packets",
        "swanctl --list-conns; swanctl --list-sas: remove the other connection (/etc/swanctl/conf.d, /etc/ipsec.conf, "
        "NetworkManager), or give it other traffic selectors",
    )

    REMOVED_FROM_CHARON = here(
        "another program has removed from charon what mcastd has loaded: `swanctl --load-creds` does that to every key "
        "that is not in its own files, `--load-all` (systemctl reload strongswan) also to connections",
        "find what runs it (a hook of certbot, configuration management) and let it not; mcastd loads its own again "
        "within a minute",
    )


def privilege(facts: Facts) -> Found:
    """The doctor may open packet sockets."""
    if not facts.privileged:
        yield Host.NOT_PRIVILEGED.found("packet sockets are refused to this user")


def configuration(facts: Facts) -> Found:
    """The file is valid."""
    if facts.config_errors:
        more = len(facts.config_errors) - _LISTED
        rest = f" (and {more} more)" if more > 0 else ""
        yield Host.CONFIGURATION_REFUSED.found("; ".join(facts.config_errors[:_LISTED]) + rest)
    yield from (Note(text=str(note)) for note in facts.config_notes if note.key != dotted(charon_settings.WHERE))


def kernel(facts: Facts) -> Found:
    """The host has what the configuration needs."""
    needed = _needed(facts, facts.config) if facts.config else {}
    missing = [what for what, (feature, is_needed) in needed.items() if is_needed and feature in facts.lacks]
    if missing:
        yield Host.KERNEL_LACKS.found(f"this host has no {', no '.join(missing)}")


def _needed(facts: Facts, config: Config) -> dict[str, tuple[Feature, bool]]:
    """What a configuration may need, by its description, and whether this one does."""
    datapath, modes = config.daemon.datapath, {child.mode for peer in config.peers for child in peer.children}
    with_gre = any(tunnel.encapsulation == "gre" for tunnel in config.tunnels)
    userspace = datapath == "userspace" or (datapath == "auto" and "ip_gre" in facts.lacks)
    return {
        "GRE (module ip_gre)": ("ip_gre", with_gre and datapath == "kernel"),
        "TUN (/dev/net/tun)": ("tun", with_gre and userspace),
        "ESP (module esp4)": ("esp4", bool(modes & {"transport", "interface"})),
        "XFRM interfaces (module xfrm_interface)": ("xfrm_interface", "interface" in modes),
        "program nft (package nftables)": ("nft", bool(rules.table(config))),
    }


def daemon(facts: Facts) -> Found:
    """The daemon answers, and runs with the configuration of the file."""
    if facts.daemon_error is not None:
        yield Host.DAEMON_SILENT.found(facts.daemon_error)
    known = {tunnel.name for tunnel in facts.status.tunnels} if facts.status else set()
    if unknown := [tunnel.name for tunnel in facts.configured if tunnel.name not in known]:
        yield Host.NOT_LOADED.found(f"the file has tunnel {', '.join(unknown)}, which the running daemon does not have")
    running = facts.status.config_digest if facts.status else None
    if facts.config is not None and running not in (None, digest(facts.config)):
        yield Host.NOT_LOADED.found(f"{facts.config_file} differs from the configuration that the daemon has read")


def charon(facts: Facts) -> Found:
    """charon answers the daemon, and has accepted what is configured."""
    if facts.status is not None and facts.status.charon is not None and facts.peers:
        unclear = facts.status.charon_code == "charon_unclear"
        yield (Host.CHARON_UNCLEAR if unclear else Host.CHARON_ABSENT).found(facts.status.charon)
    for problem in facts.status.problems if facts.status is not None else ():
        if problem.code in ("foreign_connection", "foreign_sa"):
            yield Host.FOREIGN_SELECTORS.found(f"{problem.subject}: {problem.text}").on(problem.subject)
    for problem in facts.status.problems if facts.status is not None else ():
        if problem.code == "removed_from_charon":
            yield Host.REMOVED_FROM_CHARON.found(problem.text).on(problem.subject)
    for peer in facts.peers:
        if "connection_missing" in (peer.problem_code, *(child.problem_code for child in peer.children)):
            saw = f"charon does not have the connection of peer {peer.name} any more"
            yield Host.REMOVED_FROM_CHARON.found(saw).on(peer.name)
        if peer.problem_code in ("charon_refused", "connection_not_ours"):
            yield Host.CHARON_REFUSES.found(f"peer {peer.name}: {peer.problem}").on(peer.name)
    yield from (Note(text=note.text) for note in facts.config_notes if note.key == dotted(charon_settings.WHERE))
