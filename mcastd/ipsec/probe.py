"""Probes CHILD_SAs whose path is silent on all evidence: does the peer still have them? Sans-IO.

VICI has no command for dead peer detection. A rekeying is a request as well, which the peer has to answer, and loses
nothing. Each CHILD_SA:

    state     input                                         effect         next state
    --------  --------------------------------------------  -------------  ----------------------------------
    idle      silent                                        Rekey          asked, for ANSWER_WITHIN
    asked     it has another SPI: the peer agreed           -              answered, for PAUSE
    asked     time over, no request waits: it refused       -              answered, for PAUSE
    asked     time over, the request waits for an answer    Reestablish    idle
    asked     not silent any more                           -              idle
    answered  time over, or silent once more (its number)   (see idle)     idle
    any       it is down                                    -              idle

A probe that was answered shows that the silence is not the SA's: it is not repeated for ``PAUSE`` seconds, unless
packets came and the streams fell silent once more. In between a single packet, such as a keepalive, does not count.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

ANSWER_WITHIN: Final = 5.0
PAUSE: Final = 60.0


@dataclass(frozen=True)
class Target:
    """A CHILD_SA that is up, as charon lists it. ``waits``: a request on its IKE_SA has no answer yet."""

    peer: str
    ike: int
    number: int
    spi: str
    waits: bool


@dataclass(frozen=True)
class Rekey:
    """Rekey the CHILD_SA of that name; ``again``: the peer has answered before in this silence."""

    child: str
    target: Target
    reason: str
    again: bool = False


@dataclass(frozen=True)
class Reestablish:
    """The peer does not answer: terminate the IKE_SA by force, so that it is established again."""

    child: str
    target: Target
    reason: str


Effect = Rekey | Reestablish


@dataclass(frozen=True)
class _Asked:
    until: float
    spi: str  # the inbound SPI before the rekeying


@dataclass(frozen=True)
class _Answered:
    until: float
    silence: int  # the number of the silence that the probe was for


class Probes:
    """The probes of all CHILD_SAs; one that is not in ``_states`` is idle."""

    def __init__(self) -> None:
        self._states: dict[str, _Asked | _Answered] = {}  # by the CHILD_SA's name

    def update(self, silent: Mapping[str, tuple[int, str]], targets: Mapping[str, Target], now: float) -> list[Effect]:
        """Take the CHILD_SAs whose path is silent, each with a number of that silence and a reason, and those up."""
        for name in self._states.keys() - targets.keys():
            del self._states[name]
        effects = (self._one(name, target, silent.get(name), now) for name, target in targets.items())
        return [effect for effect in effects if effect is not None]

    def next_deadline(self) -> float | None:
        """When ``update`` is to be called next, if nothing else happens."""
        return min((state.until for state in self._states.values()), default=None)

    def _one(self, name: str, target: Target, silence: tuple[int, str] | None, now: float) -> Effect | None:
        number, reason = silence or (0, "")
        again = False
        match self._states.get(name):
            case _Asked(spi=spi) if target.spi != spi:
                self._states[name] = _Answered(now + PAUSE, number)
            case _Asked() if silence is None:
                del self._states[name]
            case _Asked(until=until) if now >= until and target.waits:
                del self._states[name]
                return Reestablish(name, target, f"{reason}, and the peer does not answer")
            case _Asked(until=until) if now >= until:
                self._states[name] = _Answered(now + PAUSE, number)
            case _Answered(until=until, silence=before) if now >= until or number > before:
                again = number <= before
                del self._states[name]
        if silence is None or name in self._states:
            return None
        self._states[name] = _Asked(now + ANSWER_WITHIN, target.spi)
        return Rekey(name, target, reason, again)
