"""Keeps connections and credentials loaded in charon, also when another program removes or replaces them.

A look every ``LOOK`` seconds is what counts. charon's log says of most changes at once that there was one, so that the
look comes sooner; of unloaded connections and cleared credentials it says nothing.
"""

import asyncio
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from math import inf
from typing import Final, get_args

from mcastd.errors import ViciRefused
from mcastd.history import History
from mcastd.ipsec import foreign
from mcastd.ipsec.charon import Charon, Vici, list_contents
from mcastd.ipsec.contents import Contents, Loaded, lost
from mcastd.ipsec.credentials import shared_id
from mcastd.ipsec.loading import load, must_wait
from mcastd.ipsec.ownership import CONN
from mcastd.ipsec.sas import IkeSa, Section
from mcastd.ipsec.state import PeerState
from mcastd.listed import listed
from mcastd.problems import AuthenticationCode, Problem
from mcastd.system.ledger import Ledger
from mcastd.system.log import Logger

LOOK: Final = 5.0  # seconds between two looks at what charon has loaded
SOON: Final = 0.5  # seconds from a line in charon's log to the look: swanctl loads one thing after the other
OWN: Final = 1.0  # seconds for which such lines may be about what was loaded from here
ATTEMPT_RETRY: Final = 0.25  # seconds, while an attempt is in the way
REFUSED_RETRY: Final = 30.0  # seconds
QUICKLY: Final = 15.0  # seconds from a repair to the next loss, if another program does it again and again
AT_ONCE: Final = 5  # repairs after such losses in a row that are made at once; each one after these waits longer
LONGEST_PAUSE: Final = 60.0  # seconds between two repairs

# Lines of charon's log about what it has loaded (strongSwan 5.9.8, src/libcharon/plugins/vici).
LOG_MARKS: Final = (b"vici connection: ", b"shared key with id ", b" private key", b"loaded certificate ")
_AUTHENTICATION: Final[frozenset[str]] = frozenset(get_args(AuthenticationCode))
_BY_KEY: Final = ("peer_psk", "psk_or_identity")
_LISTED: Final = 3  # keys of other programs
_LOADED: Final = re.compile(r"vici connection: (.+)|^loaded .*shared key with id '([^']*)'")


class Loader:
    """Loads what is desired. All times are monotonic seconds."""

    def __init__(
        self, charon: Charon, ledger: Ledger, history: History, log: Logger, on_change: Callable[[], None]
    ) -> None:
        self._charon = charon
        self._ledger = ledger
        self._history = history
        self._log = log
        self._on_change = on_change
        self.next_look = 0.0  # when to look at what charon has loaded
        self._loaded: dict[str, Loaded] = {}  # by peer, what was loaded in this session with charon
        self._loaded_at: dict[str, float] = {}  # by peer, when; infinite while that is under way
        self._replaced: set[str] = set()  # connections and keys that another program loaded, by charon's log
        self._repairs: dict[str, tuple[int, float]] = {}  # by peer, quick losses in a row, and when the last repair was
        self._suspected: set[str] = set()  # peers for which all was loaded again since an authentication failed
        self._others: tuple[str, ...] = ()  # the ids of other programs' pre-shared keys, as listed last
        self._foreign: tuple[Problem, ...] = ()  # what has our traffic selectors, as listed last
        self._missing: dict[str, str] = {}  # by peer, what is not in charon any more, until it is loaded again

    def new_session(self) -> None:
        """charon may have restarted, so that nothing counts as loaded."""
        self._loaded.clear()
        self._replaced.clear()
        self._missing.clear()
        self._foreign = ()

    def problems(self) -> Iterator[Problem]:
        """What another program has with our traffic selectors, and what it has removed or replaced.

        If it removes that again and again, until the next repair is due.
        """
        yield from self._foreign
        for name, what in self._missing.items():
            yield Problem("removed_from_charon", name, f"{what}; it is loaded again within a minute")

    def on_log(self, message: Section) -> bool:
        """Take a line of charon's log; returns whether the next look is sooner for it."""
        text = message.get("msg", b"")
        if not isinstance(text, bytes) or not any(mark in text for mark in LOG_MARKS):
            return False
        if match := _LOADED.search(text.decode(errors="replace")):
            name = match[1] or match[2]
            self._replaced |= {peer for peer in self._loaded if self._is_foreign(peer, name)}
        planned, self.next_look = self.next_look, min(self.next_look, _now() + SOON)
        return self.next_look < planned

    def _is_foreign(self, peer: str, name: str) -> bool:
        return name in (peer, shared_id(peer)) and _now() - self._loaded_at[peer] > OWN

    def forget_all_but(self, peers: Mapping[str, PeerState]) -> None:
        """Forget the peers that are not configured any more, and what was found of them."""
        known = (self._loaded, self._loaded_at, self._repairs, self._missing)
        for name in {name for one in known for name in one} - peers.keys():
            for one in known:
                one.pop(name, None)
        self._replaced &= peers.keys()
        self._suspected &= peers.keys()
        children = {name for peer in peers.values() for name in peer.children}
        self._foreign = tuple(problem for problem in self._foreign if problem.subject in children)

    async def look(self, control: Vici, peers: Mapping[str, PeerState], sas: Iterable[IkeSa]) -> bool:
        """Look, when it is due, whether charon has what was loaded; returns whether something has to be loaded.

        ``sas`` are all that charon has.
        """
        self.forget_all_but(peers)  # a reload may have come while something was loaded
        now = _now()
        if now < self.next_look:
            return False
        self.next_look = now + LOOK
        replaced, self._replaced = self._replaced, set()
        watched = [peers[name] for name in self._loaded if peers[name].is_loaded]
        if not watched:
            return False
        contents = await self._list(control, peers.values())
        self._take_foreign(contents, peers, sas)
        self._suspected = {name for name in self._suspected if name in peers and peers[name].sa is None}
        found = False
        for peer in watched:
            if what := lost(self._loaded[peer.name], contents, is_replaced=peer.name in replaced):
                found = True
                peer.loaded = None
                peer.load_retry_at = self._repair_at(peer.name, now)
                self._missing[peer.name] = what
                if peer.load_retry_at > now:
                    self._on_change()
        return found

    def _take_foreign(self, contents: Contents, peers: Mapping[str, PeerState], sas: Iterable[IkeSa]) -> None:
        """Take note of what is not ours."""
        found = tuple(foreign.problems([peer.desired.peer for peer in peers.values()], contents.connections, sas))
        if found != self._foreign:
            self._foreign = found
            self._on_change()

    def blamed(self, peer: PeerState, problem: Problem) -> Problem | None:
        """What the failure of an attempt is put down to; None if the peer is to be tried again without a pause.

        After a failed authentication all is loaded again, and only a second failure counts: another program may have
        loaded another key under our name, or after ours one for the same identities, which charon prefers to ours.
        """
        if problem.code not in _AUTHENTICATION:
            return problem
        peer.loaded = None
        if peer.name not in self._suspected:
            self._suspected.add(peer.name)
            return None
        if not self._others or problem.code not in _BY_KEY:
            return problem
        keys = listed(self._others, _LISTED)
        text = f"charon also has pre-shared keys of other programs ({keys}), but does not say for which identities"
        return Problem(problem.code, problem.subject, f"{problem.text}; {text}")

    def _repair_at(self, name: str, now: float) -> float:
        """When to load a peer again: at once, or later if another program removes it soon after each time."""
        count, last = self._repairs.get(name, (0, -inf))
        count = count + 1 if now - last <= QUICKLY else 0
        self._repairs[name] = count, last
        return now + (min(LONGEST_PAUSE, LOOK * 2.0 ** (count - AT_ONCE)) if count > AT_ONCE else 0.0)

    def _repaired(self, peer: PeerState, what: str) -> None:
        now = _now()
        count, _ = self._repairs.get(peer.name, (0, now))
        self._repairs[peer.name] = count, now
        self._history.repaired(peer.name, what)
        if peer.sa is None:
            peer.try_all(now)  # that may be why the attempts have failed
        self._on_change()

    async def load_all(self, control: Vici, peers: Mapping[str, PeerState]) -> None:
        """Load what is not loaded as desired. Raises ViciError if charon cannot be used."""
        now = _now()
        due = [peer for peer in peers.values() if not peer.is_loaded and peer.load_retry_at <= now]
        if not due:
            return
        contents = await self._list(control, peers.values())
        loaded = [one for peer in due if (one := await self._load(control, contents, peer)) is not None]
        contents = await self._list(control, peers.values()) if loaded else contents
        for one in loaded:
            one.connection = contents.connections.get(one.desired.peer.name)

    async def _load(self, control: Vici, contents: Contents, peer: PeerState) -> Loaded | None:
        """Load a peer; None if that is not possible now."""
        name, desired, now = peer.name, peer.desired, _now()
        if must_wait(self._ledger, peer):
            peer.load_retry_at = now + ATTEMPT_RETRY
            return None
        if name in contents.connections and not self._ledger.has(CONN, name):
            reason = f"charon has a connection named {name} that mcastd did not load and does not touch"
            text = f"{reason}: rename the peer here, or remove that connection"
            self._not_loaded(peer, Problem("connection_not_ours", name, text), now + REFUSED_RETRY)
            return None
        before = self._loaded.get(name)
        what = self._missing.get(name) or (lost(before, contents, is_replaced=False) if before is not None else "")
        self._loaded_at[name] = inf  # charon logs it before it answers
        try:
            key = await load(self._charon, control, self._ledger, peer)
        except ViciRefused as error:
            text = f"charon refused the connection: {error}"
            self._not_loaded(peer, Problem("charon_refused", name, text), now + REFUSED_RETRY)
            return None
        peer.loaded = desired
        peer.problem = None
        self._loaded[name], self._loaded_at[name] = Loaded(desired, key), _now()
        self._missing.pop(name, None)
        if what:
            self._repaired(peer, what)
        return self._loaded[name]

    def _not_loaded(self, peer: PeerState, problem: Problem, retry_at: float) -> None:
        peer.load_retry_at = retry_at
        if peer.problem != problem:
            peer.problem = problem
            self._log.warning("peer_not_loaded", peer=peer.name, problem=problem.text)
            self._on_change()

    async def _list(self, control: Vici, peers: Collection[PeerState]) -> Contents:
        contents = await list_contents(control, certificates=any(peer.desired.certificates for peer in peers))
        ours = {shared_id(peer.name) for peer in peers}
        self._others = tuple(sorted((contents.shared or frozenset()) - ours))
        return contents


def _now() -> float:
    return asyncio.get_running_loop().time()
