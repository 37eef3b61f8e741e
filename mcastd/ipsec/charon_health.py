"""Whether charon can be used, judged by its answers and by their absence. Sans-IO.

A socket that is absent, refuses or closes means that charon has ended, and its SAs with it. An answer that cannot be
read, or does not come in time, says nothing about the SAs: the last listing counts, and nothing is changed until the
next one. Only when answers have stayed away for ``GIVE_UP`` seconds more is charon taken to have ended.

A CHILD_SA that decrypts packets is there whatever charon does: the kernel keeps its SAs when charon ends.
"""

from collections.abc import Collection
from typing import Final

from msgspec.structs import replace

from mcastd.errors import ViciError, ViciNoAnswer, ViciUnavailable
from mcastd.ipsec.sas import IkeSa
from mcastd.problems import Problem

GIVE_UP: Final = 10.0


class CharonHealth:
    """The state of charon, by the VICI sessions with it."""

    def __init__(self) -> None:
        self.gone = False  # charon has ended, and with it the SAs that do not prove the contrary
        self.failures = 0  # sessions that have failed since the last one that went well
        self.problem: Problem | None = None  # why charon cannot be used
        self._silent_since: float | None = None  # the first answer that did not come, monotonic

    def well(self) -> int:
        """charon has carried out all commands; returns how many sessions had failed before."""
        failures = self.failures
        self.gone, self.failures, self.problem, self._silent_since = False, 0, None, None
        return failures

    def failed(self, error: ViciError, now: float) -> Problem:
        """A session has ended with an error; returns the problem."""
        self.failures += 1
        if isinstance(error, ViciNoAnswer) and self._silent_since is None:
            self._silent_since = now
        silent = self._silent_since is not None and now - self._silent_since >= GIVE_UP
        self.gone = self.gone or silent or isinstance(error, ViciUnavailable)
        self.problem = Problem("charon_gone", "charon", str(error)) if self.gone else unclear(str(error))
        return self.problem


def surviving(listed: tuple[IkeSa, ...], receiving: Collection[str]) -> tuple[IkeSa, ...]:
    """What is up without charon: of the SAs that it listed last those that decrypt packets, with their IKE_SAs."""
    kept = [
        replace(sa, child_sas={key: child for key, child in sa.child_sas.items() if child.name in receiving})
        for sa in listed
    ]
    return tuple(sa for sa in kept if sa.child_sas)


def unclear(reason: str) -> Problem:
    """The problem of a charon that runs but cannot be understood, so that its last listing counts."""
    return Problem("charon_unclear", "charon", f"{reason}; the SAs that charon listed last are taken to be up")


def problem(error: ViciError, child: str) -> Problem:
    """The problem of an attempt that ended because of charon itself."""
    return Problem("charon_gone" if isinstance(error, ViciUnavailable) else "charon_unclear", child, str(error))
