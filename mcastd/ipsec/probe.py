"""Probes CHILD_SAs whose path is silent on all evidence: does the peer still have them? Sans-IO.

VICI has no command for dead peer detection. A rekeying is a request as well, which the peer has to answer, and loses
nothing. Each CHILD_SA:

    state     input                                         effect         next state
    --------  --------------------------------------------  -------------  ----------------------------------
    idle      silent                                        Rekey          asked, for ANSWER_WITHIN
    asked     it has another SPI: the peer agreed           -              answered, for its pause
    asked     time over, no request waits: it refused       -              answered, for its pause
    asked     time over, the request waits for an answer    Reestablish    idle
    asked     not silent any more                           -              idle
    answered  time over, and silent                         Rekey          asked, the pause doubled
    answered  silent once more (its number)                 Rekey          asked, the pause is PAUSE again
    answered  not silent for PAUSE                          -              idle
    any       it is down                                    -              idle

A probe that was answered shows that the silence is not the SA's: it is not repeated for ``PAUSE`` seconds, then twice
as long each time, up to ``LONGEST_PAUSE``, unless packets came and the streams fell silent once more. In between a
single packet, such as a keepalive, does not count. A peer that dies in a long silence is found by charon's own DPD.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

ANSWER_WITHIN: Final = 5.0
PAUSE: Final = 60.0
LONGEST_PAUSE: Final = 3600.0


class Target(msgspec.Struct, frozen=True):
    """A CHILD_SA that is up, as charon lists it. ``waits``: a request on its IKE_SA has no answer yet."""

    peer: str
    ike: int
    number: int
    spi: str
    waits: bool


class Rekey(msgspec.Struct, frozen=True):
    """Rekey the CHILD_SA of that name; ``again``: the peer has answered before in this silence."""

    child: str
    target: Target
    reason: str
    again: bool = False


class Reestablish(msgspec.Struct, frozen=True):
    """The peer does not answer: terminate the IKE_SA by force, so that it is established again."""

    child: str
    target: Target
    reason: str


Effect = Rekey | Reestablish


class _Asked(msgspec.Struct, frozen=True):
    deadline: float
    spi: str  # the inbound SPI before the rekeying
    silence: int  # the number of the silence that the probe is for
    pause: float  # if the peer answers


class _Answered(msgspec.Struct, frozen=True):
    until: float
    silence: int  # the number of the silence that the probe was for
    pause: float
    heard_since: float | None = None  # since when it is not silent

    @property
    def deadline(self) -> float:
        return self.until if self.heard_since is None else self.heard_since + PAUSE


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
        return min((state.deadline for state in self._states.values()), default=None)

    def _one(self, name: str, target: Target, silence: tuple[int, str] | None, now: float) -> Effect | None:
        number, reason = silence or (0, "")
        pause = PAUSE
        match self._states.get(name):
            case _Asked() as asked if target.spi != asked.spi:
                self._states[name] = _Answered(now + asked.pause, asked.silence, asked.pause)
            case _Asked() if silence is None:
                del self._states[name]
            case _Asked(deadline=deadline) if now >= deadline and target.waits:
                del self._states[name]
                return Reestablish(name, target, f"{reason}, and the peer does not answer")
            case _Asked() as asked if now >= asked.deadline:
                self._states[name] = _Answered(now + asked.pause, asked.silence, asked.pause)
            case _Answered() as answered if silence is None:
                heard_since = now if answered.heard_since is None else answered.heard_since
                if now >= heard_since + PAUSE:
                    del self._states[name]
                else:
                    self._states[name] = replace(answered, heard_since=heard_since)
            case _Answered() as answered if number > answered.silence:
                del self._states[name]
            case _Answered() as answered if now >= answered.until:
                pause = min(LONGEST_PAUSE, 2 * answered.pause)
                del self._states[name]
            case _Answered() as answered:
                self._states[name] = replace(answered, heard_since=None)
        if silence is None or name in self._states:
            return None
        self._states[name] = _Asked(now + ANSWER_WITHIN, target.spi, number, pause)
        return Rekey(name, target, reason, again=pause > PAUSE)
