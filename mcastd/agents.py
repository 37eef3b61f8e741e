"""What an agent is: a part of the daemon that holds one piece of the host or one protocol to its desired state.

An agent compares the desired with the actual state and applies the difference: when it is given another desired state,
when the kernel, charon or a neighbour reports a change, and periodically. Agents do not know each other. Each calls the
``on_change`` that it is constructed with after anything that others depend on has changed; the daemon then asks
``mcastd.wiring`` what every agent should do now, and configures each with the answer.
"""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from mcastd.problems import Problem
from mcastd.system.wake import Wake

Desired = TypeVar("Desired", contravariant=True)
Snapshot = TypeVar("Snapshot", covariant=True)


class Agent(Protocol[Desired, Snapshot]):
    """``Desired`` is what it is configured with, ``Snapshot`` what status shows of it; both are frozen."""

    @property
    def name(self) -> str:
        """A short name for the log."""

    @property
    def wake(self) -> Wake:
        """What the loop waits for; ``wake.turned`` is when it last came around, for the watchdog."""

    def configure(self, desired: Desired) -> None:
        """Set the desired state and nudge the loop; returns at once. The same value again changes nothing."""

    async def run(self) -> None:
        """Reconcile until cancelled. An error in one thing is a problem in status, and is retried."""

    async def settled(self) -> None:
        """Return when the loop has acted on the last ``configure``, or has failed and says so in status."""

    async def close(self) -> None:
        """Put back what was found. Bounded in time; raises McastdError for what could not be put back."""

    def status(self, now: float) -> Snapshot:
        """What status shows; ``now`` is monotonic, in seconds."""

    def problems(self) -> Iterable[Problem]:
        """What is wrong now; called at every change, so its cost must not grow with the number of joins."""
