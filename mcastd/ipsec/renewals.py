"""Rekeyings and reauthentications that failed while the old SA stands. Sans-IO.

charon reports them in its log alone (VICI's ``log`` event), in these lines of strongSwan 5.9.8:

    reauthenticating IKE_SA dc[7]                           a new IKE_SA is made beside it, with make_before_break;
    received AUTHENTICATION_FAILED notify error             it fails with a line of its own, and 7 stays
    IKE_SA rekeying failed, trying again in 15 seconds
    establishing CHILD_SA dc-tun-gre{8} reqid 2             the same line for a rekeying as for a first one
    received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built
    CHILD_SA rekeying failed, trying again in 15 seconds

In IKEv1 nothing follows a refusal: the CHILD_SA stays in the state REKEYING, and no request waits for an answer.
A failure is over when the SA is not the same any more: a later renewal succeeded, or it is down.
"""

import re
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from math import ceil
from typing import Final, Literal

import msgspec

from mcastd.ipsec import failure
from mcastd.ipsec.sas import IkeSa, Section
from mcastd.ipsec.state import PeerState
from mcastd.problems import Problem

_BEGINNING: Final = (
    "reauthenticating IKE_SA",
    "establishing CHILD_SA ",
    "CREATE_CHILD_SA request",
    "QUICK_MODE request",
)
_ENDING: Final = (" rekeying failed", "peer not responding", *failure.MARKS)
# The lines of charon's log that ``on_log`` needs.
LOG_MARKS: Final = tuple(mark.encode() for mark in (*_BEGINNING, *_ENDING))
_MAX_LINES: Final = 50
_SOON: Final = 1.0  # seconds
_CHILD: Final = re.compile(r"establishing CHILD_SA (.+)\{\d+\}")


class Failure(msgspec.Struct, frozen=True):
    """A renewal that failed: of a CHILD_SA or, where ``child`` is None, of the IKE_SA."""

    code: Literal["rekey_failed", "reauth_failed"]
    peer: str
    child: str | None
    old: int  # the unique id of the SA that stands
    reason: str


class Renewals:
    """The failures that are not over."""

    def __init__(self) -> None:
        # By peer, the last lines of charon's log about its IKE_SAs, each with the IKE_SA's unique id.
        self._lines: dict[str, deque[tuple[int, str]]] = {}
        self._reauthenticated: dict[str, int] = {}  # by peer, the IKE_SA that is being reauthenticated
        self._rekeyings: list[tuple[str, str | None]] = []  # peer and CHILD_SA that failed since the last listing
        self._failures: dict[tuple[str, str | None], Failure] = {}  # by peer and CHILD_SA

    def on_log(self, message: Section, peers: Collection[str]) -> bool:
        """Take a line of charon's log; returns whether a renewal may have failed, so that a listing is needed."""
        name, number, text = (_text(message, key) for key in ("ikesa-name", "ikesa-uniqueid", "msg"))
        if name not in peers or not number.isdigit():
            return False
        lines = self._lines.setdefault(name, deque(maxlen=_MAX_LINES))
        if "reauthenticating IKE_SA" in text:
            self._reauthenticated[name] = int(number)
            lines.clear()
        lines.append((int(number), text))
        if " rekeying failed" in text:
            of_child = text.startswith("CHILD_SA")
            self._rekeyings.append((name, _last_child(lines) if of_child else None))
        return any(mark in text for mark in _ENDING)

    def update(self, sas: Collection[IkeSa], peers: Mapping[str, PeerState]) -> list[Failure]:
        """Take a listing, which ``peers`` have taken too; returns the failures that are new."""
        found = {(one.peer, one.child): one for one in self._find(sas, peers)}
        self._rekeyings.clear()
        kept = {key: one for key, one in self._failures.items() if _stands(peers.get(one.peer), one)}
        new = [one for key, one in found.items() if kept.get(key) != one]
        self._failures = kept | found
        return new

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The failures by the last listing."""
        return tuple(self._failures.values())

    def next_deadline(self, now: float) -> float | None:
        """When a listing is needed next: soon, if a reauthentication has ended and its IKE_SA was still listed."""
        return now + _SOON if any(map(self._has_ended, self._reauthenticated)) else None

    def problems(self, peers: Mapping[str, PeerState], passed: float) -> Iterator[Problem]:
        """A problem for each failure, ``passed`` seconds after the last listing."""
        for one in self._failures.values():
            if (peer := peers.get(one.peer)) is not None and _stands(peer, one):
                yield _problem(peer, one, passed)

    def _find(self, sas: Collection[IkeSa], peers: Mapping[str, PeerState]) -> Iterator[Failure]:
        for name, number in list(self._reauthenticated.items()):
            peer = peers.get(name)
            if peer is None or peer.sa is None or peer.sa.uniqueid != number:
                del self._reauthenticated[name]
            elif not any(sa.name == name and sa.uniqueid != number for sa in sas) and self._has_ended(name):
                del self._reauthenticated[name]
                lines = [text for of, text in self._lines[name] if of != number]
                yield Failure("reauth_failed", name, None, number, _reason(peer, None, lines))
        refused = [(name, child) for name, peer in peers.items() for child in _refused_in_ikev1(peer)]
        for name, child in [*self._rekeyings, *refused]:
            peer = peers.get(name)
            if peer is not None and (old := _number(peer, child)) is not None:
                lines = [text for _, text in self._lines.get(name, ())]
                yield Failure("rekey_failed", name, child, old, _reason(peer, child, lines))

    def _has_ended(self, name: str) -> bool:
        """Whether the new IKE_SA of a reauthentication has failed."""
        old = self._reauthenticated[name]
        return any(of != old and mark in text for of, text in self._lines[name] for mark in _ENDING)


def _last_child(lines: Collection[tuple[int, str]]) -> str | None:
    """The CHILD_SA that charon began to establish last."""
    found = [match[1] for _, text in lines if (match := _CHILD.search(text))]
    return found[-1] if found else None


def _refused_in_ikev1(peer: PeerState) -> list[str]:
    if peer.sa is None or peer.sa.tasks_active or peer.desired.peer.version != 1:
        return []
    return [name for name, child in peer.children.items() if child.sa is not None and child.sa.state == "REKEYING"]


def _number(peer: PeerState, child: str | None) -> int | None:
    """The unique id of the SA that is up."""
    if child is None:
        return peer.sa.uniqueid if peer.sa is not None else None
    state = peer.children.get(child)
    return state.sa.uniqueid if state is not None and state.sa is not None else None


def _stands(peer: PeerState | None, one: Failure) -> bool:
    return peer is not None and _number(peer, one.child) == one.old


def _reason(peer: PeerState, child: str | None, lines: list[str]) -> str:
    """Why it failed, from the lines since the renewal began."""
    begins = [i for i, text in enumerate(lines) if any(mark in text for mark in _BEGINNING)]
    recent = lines[begins[-1] :] if begins else lines
    configured = next(one.desired for name, one in peer.children.items() if child is None or name == child)
    if child is None:  # where the exchange is named, a proposal is taken to be that of the CHILD_SA
        recent = [text for text in recent if " request" not in text]
    refusal = next((text for text in recent if any(mark in text for mark in _ENDING)), "charon does not say why")
    return failure.explain(recent, peer.desired.peer, configured, refusal).text


def _problem(peer: PeerState, one: Failure, passed: float) -> Problem:
    renewal = "reauthentication" if one.code == "reauth_failed" else "rekeying"
    what = f"the CHILD_SA {one.child}" if one.child is not None else f"the IKE_SA with {one.peer}"
    text = f"the {renewal} of {what} failed, and the old one ends within {_minutes(peer, one.child, passed)} min"
    return Problem(one.code, one.child or one.peer, f"{text}: {one.reason}")


def _minutes(peer: PeerState, child: str | None, passed: float) -> int:
    """The minutes until the SA that is up ends by its lifetime, rounded up."""
    left = 0.0
    if child is not None and (sa := peer.children[child].sa) is not None:
        left = sa.life_time - passed
    elif child is None and peer.sa is not None:
        left = peer.desired.peer.lifetime - peer.sa.established - passed
    return max(1, ceil(left / 60))


def _text(message: Section, key: str) -> str:
    value = message.get(key, b"")
    return value.decode(errors="replace") if isinstance(value, bytes) else ""
