"""All cases: each alert of etc/ is in one of them. Faults that ``./dev faults`` has too are taken from there."""

import signal
import time
from collections.abc import Mapping
from typing import Final

from mcastd.lab.topology import CLOUD, DC, GROUP, INTERNET, PORT
from tests.alerts.case import Case
from tests.faults.fault import Step
from tests.faults.lab import Lab
from tests.faults.list import FAULTS
from tests.faults.steps import both, edit, kill, mcastd, sh

_DOCTOR, _STATUS, _STREAMS = "mcastd doctor", "mcastd status", "mcastd streams GROUP"
_ANSWERING, _ASKING = "keepalive.reply = true", '\nkeepalive.period = "1s"'
_OTHER_PSK = "known to one side only"


def _fault(name: str, alerts: Mapping[str, tuple[str, str]], **changed: Step) -> Case:
    """A case of a fault that there is."""
    steps = {"inject": FAULTS[name].inject, "undo": FAULTS[name].undo} | changed
    return Case(name=name, what=FAULTS[name].what, alerts=alerts, inject=steps["inject"], undo=steps["undo"])


def _drop(node: str, hook: str, rule: str) -> tuple[Step, Step]:
    """Drop packets by a rule of nftables, and no longer."""
    table = f"table ip dropping {{ chain there {{ type filter hook {hook} priority -10; {rule} drop; }}; }}"
    return sh(node, f"nft '{table}'"), sh(node, "nft delete table ip dropping")


def _rename(name: str, to: str) -> Step:
    return sh(CLOUD, f"ip link set {name} down; ip link set {name} name {to}; ip link set {to} up")


def _other_psk(lab: Lab) -> None:
    lab.scene.dc.load(psk=_OTHER_PSK)
    lab.scene.exec(DC, ["swanctl", "--terminate", "--ike", "dc"])


def _ends(lab: Lab) -> None:
    for _ in range(4):
        FAULTS["far-ends-ike"].inject(lab)
        time.sleep(4.0)


def _uncounted(lab: Lab) -> None:
    lab.nft_broken.touch()
    lab.sh(CLOUD, "/usr/sbin/nft delete table ip mcastd_streams")


_LOSS = _drop(INTERNET, "forward", 'iifname "dc0" udp dport 4500 numgen random mod 10 < 3')
_ESP = _drop(INTERNET, "forward", 'iifname "dc0" udp dport 4500 @th,64,32 != 0')
_HALF = _drop(CLOUD, "input", f"udp dport {PORT} numgen random mod 2 == 0")
_ALL = _drop(CLOUD, "input", f"udp dport {PORT}")

CASES: Final = (
    Case(
        name="killed",
        what="the daemon is killed",
        alerts={"McastdAbsent": (_DOCTOR, "daemon_silent")},
        inject=lambda lab: lab.manager.stop(signal.SIGKILL),
        undo=lambda lab: lab.manager.start(),
    ),
    Case(
        name="other-psk",
        what="the other side changes the pre-shared key, and ends the IKE_SA",
        alerts=dict.fromkeys(
            ("McastdDown", "McastdPeerDown", "McastdChildSaDown", "McastdTunnelDown"),
            (_DOCTOR, r"\(authentication\)"),
        ),
        inject=_other_psk,
        undo=both(lambda lab: lab.scene.dc.load(), mcastd("reload")),
    ),
    _fault("psk-rotated-there-only", {"McastdRenewalFailed": (_STATUS, "reauth_failed")}),
    _fault("charon-killed", {"McastdCharonGivesNoAnswer": (_DOCTOR, "charon_absent")}),
    Case(
        name="esp-lost",
        what="ESP from the other side is lost on the path, and IKE is not",
        alerts={"McastdPathDead": (_DOCTOR, r"\((nothing_comes_back|silent)\)")},
        inject=_ESP[0],
        undo=_ESP[1],
    ),
    Case(
        name="esp-lost-unasked",
        what="ESP from the other side is lost on the path, and mcastd sends no keepalives of its own",
        alerts={"McastdChildSaSilent": (_DOCTOR, r"\((nothing_comes_back|silent)\)")},
        inject=both(edit(_ASKING, ""), mcastd("reload"), _ESP[0]),
        undo=both(_ESP[1], edit(_ANSWERING, _ANSWERING + _ASKING), mcastd("reload")),
    ),
    Case(
        name="far-keepalives",
        what="the other side sends no more keepalives",
        alerts={"McastdKeepalivesStopped": (_DOCTOR, r"BROKEN: keepalives \(")},
        inject=kill("cisco", signal.SIGSTOP),
        undo=kill("cisco", signal.SIGCONT),
    ),
    Case(
        name="far-pimd-ends",
        what="the other side's PIM daemon ends, with a goodbye",
        alerts={
            "McastdNoPimNeighbor": (_DOCTOR, r"BROKEN: neighbor \("),
            "McastdGroupNotJoined": ("mcastd status --group GROUP", "not joined"),
        },
        inject=kill("pimd", signal.SIGTERM),
        undo=lambda lab: lab.scene.dc.start_pimd(),
    ),
    Case(
        name="sender-stops",
        what="the sender stops",
        alerts={"McastdSilent": ("mcastd streams", "silent"), "McastdDegraded": (_STATUS, "all_silent")},
        inject=lambda lab: lab.scene.kill("source", signal.SIGSTOP),
        undo=lambda lab: lab.scene.kill("source", signal.SIGCONT),
    ),
    Case(
        name="loss-on-the-way",
        what="30 % of the packets from the other side are lost on the path",
        alerts={
            "McastdNumbersMissing": (_STREAMS, r"missing by the sender's numbers.* [1-9]"),
            "McastdLostOnBothSides": (_STREAMS, r"trades.* on both [1-9]"),
        },
        inject=_LOSS[0],
        undo=_LOSS[1],
    ),
    Case(
        name="dropped-here",
        what="a firewall of this host drops half of the feed",
        alerts={"McastdDrops": (_STREAMS, r"this host, .*: [1-9]")},
        inject=_HALF[0],
        undo=_HALF[1],
    ),
    Case(
        name="all-dropped-here",
        what="a firewall of this host drops the feed",
        alerts={"McastdNotDelivered": (_DOCTOR, r"\(dropped_here\)")},
        inject=_ALL[0],
        undo=_ALL[1],
    ),
    _fault("rule-220-deleted", {"McastdGuardDrops": (_DOCTOR, r"\(rule_220_missing\)")}),
    _fault("rp-filter-often", {"McastdAnotherProgram": (_STATUS, "changed_by_another_program")}),
    Case(
        name="far-ends-ike-often",
        what="the other side ends the IKE_SA again and again",
        alerts={"McastdFlapping": (_STATUS, "problem flapping")},
        inject=_ends,
    ),
    Case(
        name="eth1-renamed",
        what="the interface to the machines behind this host gets another name",
        alerts={"McastdForwardsNothing": (_STATUS, "downstream_missing")},
        inject=_rename("eth1", "lan0"),
        undo=_rename("lan0", "eth1"),
    ),
    Case(
        name="streams-not-counted",
        what="another program deletes the table that counts streams, and nft(8) cannot be run",
        alerts={"McastdStreamsNotCounted": ("mcastd streams", "streams are not counted")},
        inject=_uncounted,
        undo=lambda lab: lab.nft_broken.unlink(),
    ),
)


def command_line(command: str) -> list[str]:
    """The arguments of a runbook's command in the lab."""
    return command.replace("GROUP", GROUP).split()[1:]
