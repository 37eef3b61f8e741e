"""The hop of the daemon's own status: whatever problem it has that no hop before has explained."""

from collections.abc import Mapping
from typing import Final

from mcastd.problems import ProblemCode
from mcastd.tools.doctor.facts import Facts
from mcastd.tools.doctor.finding import Cause, Note, either, here
from mcastd.tools.doctor.hops import Found, dropping

_OFTEN: Final = 3  # times in an hour that a problem began; less is no note
_LISTED: Final = 5


class Reported(Cause):
    """What the hop of the status can find."""

    KEEPALIVES_STOPPED = either(
        "the other side has stopped its keepalives, or they are lost, while other packets arrive",
        "ask whether they have been turned off: the other side detects a dead path by them",
    )
    HELLO_OVERDUE = either(
        "the PIM neighbour is late with its Hello: its PIM or its side of the tunnel has just gone down, or a firewall "
        "drops PIM (protocol 103) on the way into this host",
        "look for drops of protocol 103 in `nft list ruleset`; ask whether the router or its PIM was restarted",
    )
    ALL_SILENT = either(
        "every stream of the tunnel fell silent at once: the path is cut, their router has forgotten our joins, or the "
        "sources have stopped",
        "if it is the end of the session, set the hours of the feed ([streams] hours); else ask whether the sources "
        "send, and whether the tunnel is among the outgoing interfaces of the groups",
    )
    NOTHING_EVER_ARRIVED = either(
        "nothing has arrived on the tunnel since groups are joined on it",
        "ask whether the sources send, and whether the tunnel is among the outgoing interfaces of the groups",
    )
    CHILD_SA_SILENT = either(
        "the CHILD_SA is up, and nothing comes out of it any more: the other side has lost it, sends elsewhere, or ESP "
        "is dropped on the way",
        "ask whether their SA still exists and encrypts (`show crypto ipsec sa`: encaps); look for drops of ESP or UDP "
        "4500 in `nft list ruleset`",
    )
    GROUP_SILENT = either(
        "a group was silent for longer than its max_silence",
        "ask whether its source sends; `mcastd status` shows which groups arrive",
    )
    FEED_SILENT = either(
        "a feed was silent for longer than its max_silence, within its hours",
        "ask whether its source sends; `mcastd streams GROUP` shows what arrived, and where this host lost packets",
    )
    NOT_DELIVERED = here(
        "what arrives is dropped on this host: by its firewall (PREROUTING, INPUT), or by the reverse path filter",
        "look for drops in `nft list ruleset` and `iptables-save -c`; `mcastd streams GROUP` shows where it was lost",
    )
    STREAMS_SET_FULL = here(
        "the kernel counts no further streams: as many as there is room for have arrived within two days",
        "`mcastd streams` shows them; if they are not yours, ask the other side what it sends; begin again with "
        "`mcastd streams --reset`",
    )
    FOLLOW_LIMIT_REACHED = here(
        "applications have joined more than is allowed on a tunnel; the rest is not joined upstream",
        "raise follow_limit of the tunnel, or find the program that joins so much; `mcastd status` names some of it",
    )
    FOLLOW_FAILED = here(
        "what applications join is not, or not wholly, seen",
        "the message says what is missing: CAP_NET_RAW and CAP_NET_ADMIN, a writable /proc/sys, descriptors",
    )
    REAUTH_FAILED = either(
        "the other side, or this one, refused a reauthentication; the path works until the old IKE_SA ends",
        "correct what the message names, which differs since the IKE_SA was established: the PSK, an identity, a "
        "certificate, the IKE proposal; then `swanctl --rekey --ike PEER --reauth` shows whether it is accepted",
    )
    REKEY_FAILED = either(
        "the other side, or this one, refused a rekeying; the path works until the old SA ends",
        "correct what the message names; where it is the ESP proposal, compare the PFS group, which a CHILD_SA that is "
        "established with its IKE_SA does not use before its first rekeying",
    )
    GUARD_DROPS = here(
        "packets that the SA is for are dropped, since this host would send them unencrypted although the SA is up",
        "compare ip xfrm policy, ip rule and ip route get with the selectors; look for NAT rules of other programs "
        "that change their source (`nft list ruleset`): a connection that began under them keeps it (conntrack -L)",
    )
    FLAPPING = either(
        "it goes down and comes back again and again, and packets are lost each time",
        "`mcastd status` has the times of the last hour, journalctl -u mcastd the reasons: look for another program "
        "that changes the interface, and ask the other side whether theirs flaps",
    )
    CHANGED_BY_ANOTHER_PROGRAM = here(
        "another program changes what mcastd has set up, and mcastd puts it back, again and again",
        "find it and let it leave that alone: NetworkManager (unmanaged-devices), systemd-networkd, a firewall "
        "service, configuration management; journalctl -u mcastd has the times",
    )
    PIM_ROUTER_ON_SEGMENT = either(
        "a PIM router is on the segment of the receivers; if it forwards the same groups, they get each packet twice",
        "let one of the two forward them: mcastd takes no part in PIM's assert there",
    )
    DOWNSTREAM_WITHOUT_ADDRESS = here(
        "machines behind the interface are not asked what they want, since a query needs an address to be sent from",
        "give the interface an IPv4 address",
    )
    IGMP_FAILED = here(
        "machines behind the interface are not asked what they want, since the host refuses to send or receive IGMP",
        "the message says what: a missing capability (CAP_NET_RAW), a firewall in the output hook",
    )
    HOSTS_LIMIT = here(
        "more machines behind the interface want groups than are kept apart; of an overlay the others get nothing",
        "let fewer take part in one overlay: a second one, with a VNI of its own, has the same room again",
    )
    OVERLAY_FAILED = here(
        "machines on the overlay are not served as they ask, since the host refuses something",
        "the message says what: local that is no address of this host, an interface that is down, or one of the name "
        "of the overlay, no module vxlan",
    )
    OVERLAY_NOT_EXACT = here(
        "machines on the overlay get more than they ask for: all groups that any wants, or all sources of a group",
        "the message says why: a kernel with VXLAN MDB (Linux 6.4) has entries for groups, of each up to 2,000",
    )
    OVERLAY_UNREACHABLE = here(
        "machines on the overlay want groups and get none: they have sent from an address that is not among members",
        "add their addresses in the network that carries VXLAN to members, if they may take part",
    )
    METRICS_FAILED = here(
        "the metrics cannot be read, since mcastd cannot listen at the address of [metrics]",
        "`ss -ltnp` shows which program has the port: set another one in listen of [metrics], or stop that program",
    )
    AGENT_FAILED = here(
        "a part of mcastd has failed; it is started again, and the others go on",
        "journalctl -u mcastd has the reason; `mcastd support` collects what a report of it needs",
    )
    RECONCILE_FAILED = here(
        "the host refuses what mcastd asks of it; it is tried again each second",
        "the message says what: memory, descriptors (LimitNOFILE), a read-only /proc/sys, a missing capability",
    )
    STATE_NOT_SAVED = here(
        "what a restart needs could not be written: joins by command and settings from before are lost with it",
        "df and ls -ld of daemon.runtime_dir: make room there, make it writable",
    )
    HOST_REFUSES = here(
        "this host keeps mcastd from working as configured",
        "the message says what; `mcastd status` and journalctl -u mcastd say more",
    )
    REPORTED = either("the daemon has a problem", "`mcastd status` and journalctl -u mcastd say more")


_CAUSES: Final[Mapping[str, Cause]] = {cause.name.lower(): cause for cause in Reported}
"""The causes for the codes of problems."""

_LOCAL: Final[frozenset[ProblemCode]] = frozenset(
    {"capability_missing", "control_socket_failed", "forward_failed", "igmp_join_failed", "start_failed"}
)
"""Problems that are always this host's, and have no cause of their own."""


def status(facts: Facts) -> Found:
    """The daemon has no problem; what was repaired in the last hour is a note."""
    if facts.status is None:
        return
    for problem in facts.status.problems:
        saw = f"{problem.text} ({problem.subject}, since {problem.since})"
        other = Reported.HOST_REFUSES if problem.code in _LOCAL else Reported.REPORTED
        why = dropping(facts, 1) if problem.code == "not_delivered" else ""
        yield _CAUSES.get(problem.code, other).found(saw + why).on(problem.subject)
    for one in [one for one in facts.status.history if one.event != "ended"][:_LISTED]:
        since = f"{one.count} times in the last hour, the last time {one.last_age:.0f} s ago"
        if one.event == "repaired":
            yield Note(text=f"{one.subject}: {one.what} was repaired {since}")
        elif one.count >= _OFTEN:
            yield Note(text=f"{one.what} of {one.subject} began {since}")
