"""What the answers of charon, and their absence, say of charon itself. Sans-IO.

A socket that is absent, refuses or closes says that charon has gone, and its SAs with it. An answer that cannot be
read, or does not come in time, says nothing of the SAs: what was listed last holds, and nothing is begun until there is
a listing again. Only an answer that has stayed away for ``GIVE_UP`` seconds more is taken for charon's end.
"""

from typing import Final

from mcastd.errors import ViciError, ViciNoAnswer, ViciUnavailable

GIVE_UP: Final = 10.0
UNSURE: Final = "no word from charon: "
"""How ``problem`` begins while charon may well be there."""


class Contact:
    """Whether charon can be used. ``failures`` counts the sessions that failed since it was understood last."""

    def __init__(self) -> None:
        self.gone = False
        self.failures = 0
        self.problem: str | None = None
        self._silent_since: float | None = None

    def well(self) -> int:
        """It did all that was asked, and its answers could be read; returns how many sessions had failed before."""
        failures = self.failures
        self.gone, self.failures, self.problem, self._silent_since = False, 0, None, None
        return failures

    def failed(self, error: ViciError, now: float) -> None:
        """A session ended with an error."""
        self.failures += 1
        if isinstance(error, ViciNoAnswer) and self._silent_since is None:
            self._silent_since = now
        silent = self._silent_since is not None and now - self._silent_since >= GIVE_UP
        self.gone = self.gone or silent or isinstance(error, ViciUnavailable)
        self.problem = str(error) if self.gone else f"{UNSURE}{error}; what it listed last holds"
