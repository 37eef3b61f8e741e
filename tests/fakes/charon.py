"""A model of charon and of the peers behind it, in memory: for the agent the interface ``mcastd.ipsec.charon.Charon``.

It keeps connections, credentials and SAs, and answers the commands that mcastd uses with the messages that strongSwan
5.9.8 sends. What the peer does, and what goes wrong, is set by the attributes and methods of ``FakeCharon``. It needs a
loop whose clock is virtual (``tests.fakes.clock``) only to be quick.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal, cast

from mcastd.errors import ViciError, ViciNoAnswer, ViciRefused, ViciUnavailable, ViciUnreadable
from mcastd.ipsec.charon import COMMAND_TIMEOUT, EventHandler
from mcastd.ipsec.sas import Section

LATENCY = 0.01
"""Seconds that each exchange with the peer takes."""
OVERLAP = 1.0
"""Seconds for which a CHILD_SA that is replaced stays."""

GIVE_UP = 60.0
"""Seconds of retransmission after which charon takes a peer to be gone."""
RETRANSMISSION = 0.5
"""Seconds between two attempts to reach a peer that does not answer on an IKE_SA."""
FIRST_RETRANSMISSION, GROWTH = 4.0, 1.8
"""Seconds between the first two attempts to reach a peer that does not answer an IKE_SA_INIT, and how they grow."""

"""The keys of a connection's addresses."""

Emit = Callable[[str, Section], None]


@dataclass(frozen=True)
class Refusal:
    """How the peer refuses a CHILD_SA, and what charon logs of it. Where ``whole``, the IKE_SA fails as well."""

    line: str
    whole: bool = False


HANG: Literal["hang"] = "hang"
"""The peer answers on nothing that concerns a CHILD_SA."""

WRONG_PSK = Refusal("received AUTHENTICATION_FAILED notify error", whole=True)
WRONG_SELECTORS = Refusal("received TS_UNACCEPTABLE notify, no CHILD_SA built")


@dataclass(eq=False)
class FakeChildSa:
    """One CHILD_SA."""

    name: str
    number: int
    state: str
    since: float
    config: Mapping[str, Any]
    encap: bool = False
    packets_in: int = 0

    @property
    def spi(self) -> int:
        return 0xC0000000 + self.number


@dataclass(eq=False)
class FakeIkeSa:
    """One IKE_SA."""

    name: str
    number: int
    state: str
    since: float
    config: Mapping[str, Any]
    children: list[FakeChildSa] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)  # the requests that wait for an answer
    forgotten: bool = False  # the peer does not know it, and answers nothing on it
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class FakeCharon:
    """charon, and the peer."""

    def __init__(self) -> None:
        self.runs = True
        self.socket = True  # whether the VICI socket exists
        self.silent = False  # commands have no answer
        self.spoiled: dict[
            str, str
        ] = {}  # a command, and the value of bytes-in in its answer; "frame": what is no VICI
        self.refused: dict[str, str] = {}  # a command, and why it is refused
        self.outcomes: dict[str, Refusal | Literal["hang"]] = {}  # by the CHILD_SA's name; else it comes up
        self.unknown_events: set[str] = set()  # those that it does not have
        self.peer_silent = False  # the peer answers nothing
        self.silent_peers: set[str] = set()  # the same for the peers of these connections alone
        self.most_waiting = 0  # the most requests that waited on an established IKE_SA at once
        self.conns: dict[str, Mapping[str, Any]] = {}
        self.shared: dict[str, Mapping[str, Any]] = {}
        self.keys: dict[str, bytes] = {}
        self.authorities: dict[str, Mapping[str, Any]] = {}
        self.certificates: list[Mapping[str, Any]] = []  # each load-cert
        self.store: set[bytes] = set()  # certificates that it knows, also from connections
        self.sas: list[FakeIkeSa] = []
        self.commands: list[tuple[str, Mapping[str, Any]]] = []  # what was asked, in order
        self.connections: list[FakeVici] = []
        self.concurrent = 0  # the most attempts for one CHILD_SA that were in flight at once
        self._negotiations: set[asyncio.Task[bool]] = set()
        self._initiating: Counter[tuple[str, str]] = Counter()
        self._numbers = count(1)

    # What the agent uses.

    async def connect(self) -> "FakeVici":
        if not (self.runs and self.socket):
            why = "Connection refused" if self.socket else "No such file or directory"
            raise ViciUnavailable(f"charon does not answer on /run/charon.vici: {why}")
        self.connections.append(FakeVici(self))
        return self.connections[-1]

    def has_socket(self) -> bool:
        return self.socket

    # What a test makes happen.

    def end(self, *, socket: bool = False) -> None:
        """charon crashes: its SAs and what it had loaded are gone; ``socket`` says whether its socket stays."""
        self.runs, self.socket = False, socket
        for ike in self.sas:
            ike.gone.set()
        for things in (self.conns, self.shared, self.keys, self.authorities, self.sas, self.store):
            things.clear()
        self.disconnect()

    def start(self) -> None:
        self.runs = self.socket = True

    def disconnect(self) -> None:
        """All connections break."""
        for connection in list(self.connections):
            connection.break_off(ViciUnavailable("charon closed the connection"))

    def peer_initiates(self, name: str, *children: str) -> FakeIkeSa:
        """The peer makes an IKE_SA of its own, with CHILD_SAs."""
        ike = self._ike(name, "ESTABLISHED")
        self._updown(ike, up=True)
        for child in children:
            self._install(ike, child, self.conns[name])
        return ike

    def delete(self, *names: str) -> None:
        """The peer deletes the CHILD_SAs of these names; without names, all IKE_SAs."""
        for ike in list(self.sas):
            if not names:
                self._remove_ike(ike)
            for child in [child for child in ike.children if child.name in names]:
                self._remove_child(ike, child)

    def peer_dies(self) -> None:
        """The peer's IKE daemon ends, and its SAs with it; it says nothing until ``peer_silent`` is cleared."""
        self.peer_silent = True
        for ike in self.sas:
            ike.forgotten = True

    def is_silent(self, ike: FakeIkeSa) -> bool:
        """Whether the peer of an IKE_SA answers nothing."""
        return self.peer_silent or ike.name in self.silent_peers

    def rekey(self, name: str) -> None:
        """Either side rekeys a CHILD_SA; the old one goes ``OVERLAP`` seconds later."""
        ike, old = next((ike, child) for ike in self.sas for child in ike.children if child.name == name)
        new = FakeChildSa(name, next(self._numbers), "INSTALLED", _now(), old.config)
        old.state = "REKEYED"
        ike.children.append(new)
        both: Section = {"old": self._child_section(old), "new": self._child_section(new)}
        self._emit("child-rekey", {ike.name: {**self._ike_section(ike), "child-sas": {name: both}}})
        asyncio.get_running_loop().call_later(OVERLAP, self._replaced, old)

    def _replaced(self, old: FakeChildSa) -> None:
        for ike in self.sas:  # it may have moved to another
            self._remove_child(ike, old)

    def rekey_ike(self) -> None:
        """Either side rekeys the IKE_SA; the CHILD_SAs move to the new one at once."""
        (old,) = self.sas
        new = FakeIkeSa(old.name, next(self._numbers), "ESTABLISHED", _now(), old.config, old.children)
        old.state, old.children = "REKEYED", []
        self.sas.append(new)
        self._emit("ike-rekey", {old.name: {"old": self._ike_section(old), "new": self._ike_section(new)}})
        asyncio.get_running_loop().call_later(OVERLAP, self._remove_ike, old)

    async def reauthenticate(self) -> bool:
        """charon makes a new IKE_SA beside the old one; returns whether the peer agreed to all of it."""
        (old,) = self.sas
        self.log_line(old, f"reauthenticating IKE_SA {old.name}[{old.number}]")
        new = self._ike(old.name, "CONNECTING")
        await asyncio.sleep(LATENCY)
        for child in list(old.children):
            if isinstance(outcome := self.outcomes.get(child.name), Refusal):
                self.log_line(new, outcome.line)
                self._remove_ike(new)
                return False
        new.state, new.since = "ESTABLISHED", _now()
        self._updown(new, up=True)
        for child in list(old.children):
            self._install(new, child.name, self.conns[old.name])
        self._remove_ike(old)
        return True

    def swanctl_load_creds(self, *keys: str, clear: bool = False) -> None:
        """Another program loads the credentials of its own files, pre-shared keys of these names for everybody."""
        if clear:
            self.clear_creds()
        for key in keys:
            self._load_shared({"id": key, "owners": ["%any"]})
        for key in self.shared.keys() - set(keys):
            del self.shared[key]
            self.log(f"unloaded shared key with id '{key}'")
        for key in list(self.keys):
            del self.keys[key]
            self.log(f"unloaded private key with id {key}")

    def swanctl_load_all(self, conns: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Another program loads all that is in its own files, these connections, and unloads all else."""
        self.swanctl_load_creds()
        self.authorities.clear()
        self._load_conn(conns or {})
        self.conns = {name: conn for name, conn in self.conns.items() if name in (conns or {})}

    def clear_creds(self) -> None:
        """Another program clears the credentials, of which charon logs nothing."""
        self.shared.clear()
        self.keys.clear()
        self.store.clear()

    def log(self, line: str) -> None:
        """charon logs a line."""
        self._emit("log", {"group": b"CFG", "level": b"1", "thread": b"7", "msg": line.encode()})

    def event(self, name: str, message: Section) -> None:
        """charon reports an event, whatever is in it."""
        self._emit(name, message)

    def installed(self) -> list[str]:
        """The names of the CHILD_SAs that are in use, sorted."""
        return sorted(child.name for ike in self.sas for child in ike.children if child.state == "INSTALLED")

    def spis(self) -> dict[str, int]:
        """The inbound SPIs of those, by their names."""
        return {child.name: child.spi for ike in self.sas for child in ike.children if child.state == "INSTALLED"}

    def asked(self, command: str) -> list[Mapping[str, Any]]:
        """The messages of all commands of a name, so far."""
        return [message for name, message in self.commands if name == command]

    # How it answers.

    async def answer(self, vici: "FakeVici", name: str, message: Mapping[str, Any], emit: Emit) -> Section:
        self.commands.append((name, message))
        if self.silent:
            await vici.pause(None)
        if name in self.refused:
            raise ViciRefused(self.refused[name])
        match name:
            case "initiate":
                what = message["ike"], message["child"]
                self._initiating[what] += 1
                self.concurrent = max(self.concurrent, self._initiating[what])
                try:
                    await self._initiate(vici, message, emit)
                finally:
                    self._initiating[what] -= 1
            case "terminate":
                await self._terminate(vici, message)
            case "rekey":
                self._rekey(message)
            case "list-sas":
                await vici.pause(LATENCY)
                self._list_sas(emit)
            case "list-conns":
                for conn, config in self.conns.items():
                    emit("list-conn", {conn: _listed_connection(config)})
            case "load-conn":
                self._load_conn(message)
            case "load-shared":
                self._load_shared(message)
            case "get-shared":
                return {"keys": [key.encode() for key in self.shared]}
            case "get-authorities":
                return {"authorities": [name.encode() for name in self.authorities]}
            case "list-certs":
                for certificate in self.store:
                    emit("list-cert", {"type": b"X509", "data": certificate})
            case "load-authority":
                self.authorities.update(message)
            case "load-cert":
                self.certificates.append(message)
                self.store.add(message["data"])
            case "get-keys":
                return {"keys": [key.encode() for key in self.keys]}
            case "load-key":
                key = f"key-of-{message['data'].decode()}"
                self.keys[key] = message["data"]
                self.log("loaded ANY private key")
                return {"id": key.encode()}
            case "unload-conn" | "unload-shared" | "unload-authority" | "unload-key":
                self._unload(name, message)
            case _:
                raise ViciRefused(f"charon does not know the command {name}")
        return {"success": b"yes"}

    def _load_shared(self, message: Mapping[str, Any]) -> None:
        others = {name: key for name, key in self.shared.items() if name != message["id"]}
        self.shared = {message["id"]: message, **others}  # of equal keys the one loaded last counts
        owners = ", ".join(f"'{owner}'" for owner in message["owners"])
        self.log(f"loaded IKE shared key with id '{message['id']}' for: {owners}")

    def _load_conn(self, conns: Mapping[str, Mapping[str, Any]]) -> None:
        for name, config in conns.items():
            self.log(f"{'replaced' if name in self.conns else 'added'} vici connection: {name}")
            self.conns[name] = config
            for certificate in config.get("local", {}).get("certs", ()):
                self.store.add(certificate)

    def _unload(self, name: str, message: Mapping[str, Any]) -> None:
        stores: dict[str, dict[str, Any]] = {
            "unload-conn": self.conns,
            "unload-shared": self.shared,
            "unload-authority": self.authorities,
            "unload-key": self.keys,
        }
        if stores[name].pop(message["name"] if "name" in message else message["id"], None) is None:
            raise ViciRefused("not found")

    def _list_sas(self, emit: Emit) -> None:
        spoiled = self.spoiled.get("list-sas")
        if spoiled == "frame":
            raise ViciUnreadable("charon sent what is not VICI (vici-element)")
        for ike in self.sas:
            children: Section = {f"{child.name}-{child.number}": self._child_section(child) for child in ike.children}
            if spoiled is not None:
                children["spoiled"] = {"bytes-in": spoiled.encode()}
            emit("list-sa", {ike.name: {**self._ike_section(ike), "child-sas": children}})

    async def _initiate(self, vici: "FakeVici", message: Mapping[str, Any], emit: Emit) -> None:
        name, child, timeout = message["ike"], message["child"], int(message["timeout"]) / 1000
        if child not in self.conns.get(name, {}).get("children", {}):
            raise ViciRefused(f"CHILD_SA config '{child}' not found")
        # As charon does, it goes on with it after the timeout, and when the client is gone.
        negotiation = asyncio.create_task(self._negotiate(name, child, self.conns[name], emit))
        self._negotiations.add(negotiation)
        negotiation.add_done_callback(self._negotiations.discard)
        await vici.pause(timeout, negotiation)
        if not negotiation.done():
            raise ViciRefused(f"CHILD_SA '{child}' not established after {message['timeout']}ms")
        if not negotiation.result():
            raise ViciRefused(f"establishing CHILD_SA '{child}' failed")

    async def _negotiate(self, name: str, child: str, config: Mapping[str, Any], emit: Emit) -> bool:
        """Negotiate a CHILD_SA, and an IKE_SA where there is none; returns whether it came up."""

        def log(line: str) -> None:
            emit("control-log", {"msg": line.encode()})

        ikes = [ike for ike in self.sas if ike.name == name and ike.state == "ESTABLISHED"]
        log(f"generating {'CREATE_CHILD_SA' if ikes else 'IKE_SA_INIT'} request 0 [ SA KE No ]")
        log(f"sending packet: from {config['local_addrs'][0]}[500] to {config['remote_addrs'][0]}[500] (462 bytes)")
        ike = max(ikes, key=lambda ike: ike.number) if ikes else self._ike(name, "CONNECTING")
        if self.outcomes.get(child) == HANG and not self.peer_silent and ike.state == "CONNECTING":
            log("received packet: from the peer")
            log("generating IKE_AUTH request 1 [ IDi AUTH SA TSi TSr ]")
            log("sending packet: to the peer")
        await self._exchange(ike, child, "CHILD_CREATE")
        outcome = self.outcomes.get(child)
        log("received packet: from the peer")
        if isinstance(outcome, Refusal):
            log(outcome.line)
            if outcome.whole and ike.state == "CONNECTING":
                self._remove_ike(ike)
        if ike not in self.sas:
            return False
        if ike.state == "CONNECTING":
            ike.state, ike.since = "ESTABLISHED", _now()
            self._updown(ike, up=True)
        if isinstance(outcome, Refusal) or ike.state != "ESTABLISHED":
            return False
        self._install(ike, child, config)
        return True

    async def _exchange(self, ike: FakeIkeSa, child: str, task: str) -> None:
        """Send a request, again and again until the peer answers, charon gives up or the IKE_SA is terminated."""
        ike.tasks.append(task)
        if ike.state == "ESTABLISHED":
            self.most_waiting = max(self.most_waiting, len(ike.tasks))
        give_up = _now() + GIVE_UP
        pause = RETRANSMISSION if ike.state == "ESTABLISHED" else FIRST_RETRANSMISSION
        await asyncio.sleep(LATENCY)
        while ike in self.sas and (self.is_silent(ike) or ike.forgotten or self.outcomes.get(child) == HANG):
            if _now() >= give_up:
                self._remove_ike(ike)
            with suppress(TimeoutError):
                await asyncio.wait_for(ike.gone.wait(), pause)
            pause *= 1.0 if ike.state == "ESTABLISHED" else GROWTH
        ike.tasks.remove(task)

    def _rekey(self, message: Mapping[str, Any]) -> None:
        found = [(ike, child) for ike in self.sas for child in ike.children if _matches(message, ike, child)]
        if not found:
            raise ViciRefused("no matching SAs to rekey found")
        for ike, child in found:
            if child.state == "INSTALLED":
                child.state = "REKEYING"
                rekeying = asyncio.create_task(self._rekeying(ike, child))
                self._negotiations.add(rekeying)
                rekeying.add_done_callback(self._negotiations.discard)

    async def _rekeying(self, ike: FakeIkeSa, child: FakeChildSa) -> bool:
        """charon rekeys a CHILD_SA; returns whether the peer agreed."""
        await self._exchange(ike, child.name, "CHILD_REKEY")
        if ike not in self.sas or child not in ike.children:
            return False
        child.state = "INSTALLED"
        if isinstance(outcome := self.outcomes.get(child.name), Refusal):
            self.log_line(ike, f"establishing CHILD_SA {child.name}{{{next(self._numbers)}}} reqid 1")
            self.log_line(ike, "generating CREATE_CHILD_SA request 3 [ N(REKEY_SA) SA No KE TSi TSr ]")
            self.log_line(ike, outcome.line)
            self.log_line(ike, "CHILD_SA rekeying failed, trying again in 15 seconds")
            return False
        self.rekey(child.name)
        return True

    def log_line(self, ike: FakeIkeSa, text: str) -> None:
        """charon logs a line about an IKE_SA."""
        said = {"group": b"IKE", "level": b"1", "ikesa-name": ike.name.encode(), "msg": text.encode()}
        self._emit("log", {**said, "ikesa-uniqueid": str(ike.number).encode()})

    async def _terminate(self, vici: "FakeVici", message: Mapping[str, Any]) -> None:
        force, timeout = message["force"] == "yes", int(message["timeout"]) / 1000
        found = [(ike, child) for ike in self.sas for child in (None, *ike.children) if _matches(message, ike, child)]
        if not found:
            raise ViciRefused("no matching SAs to terminate found")
        await vici.pause(LATENCY)
        for ike, child in found:
            (ike if child is None else child).state = "DELETING"
        if any(self.is_silent(ike) for ike, _ in found) and not force:
            self._delete_later(found, _now() + GIVE_UP)
            await vici.pause(timeout - LATENCY)
            raise ViciRefused("terminating SAs failed after timeout")
        self._delete(found)

    def _delete_later(self, found: list[tuple[FakeIkeSa, FakeChildSa | None]], give_up: float) -> None:
        """Retransmit the DELETE until the peer answers or charon gives up."""
        if any(self.is_silent(ike) for ike, _ in found) and _now() < give_up:
            asyncio.get_running_loop().call_later(RETRANSMISSION, self._delete_later, found, give_up)
        else:
            self._delete(found)

    def _delete(self, found: list[tuple[FakeIkeSa, FakeChildSa | None]]) -> None:
        for ike, child in found:
            if child is None:
                self._remove_ike(ike)
            else:
                self._remove_child(ike, child)

    # Its SAs, and the events about them.

    def _ike(self, name: str, state: str) -> FakeIkeSa:
        self.sas.append(FakeIkeSa(name, next(self._numbers), state, _now(), self.conns[name]))
        return self.sas[-1]

    def _install(self, ike: FakeIkeSa, name: str, config: Mapping[str, Any]) -> None:
        encap = config["encap"] == "yes"
        child = FakeChildSa(name, next(self._numbers), "INSTALLED", _now(), config["children"][name], encap)
        ike.children.append(child)
        self._updown(ike, child, up=True)

    def _remove_ike(self, ike: FakeIkeSa) -> None:
        if ike in self.sas:
            self.sas.remove(ike)
            ike.gone.set()
            self._updown(ike, up=False)

    def _remove_child(self, ike: FakeIkeSa, child: FakeChildSa) -> None:
        if child in ike.children:
            ike.children.remove(child)
            if child.state != "REKEYED" and ike in self.sas:
                self._updown(ike, child, up=False)

    def _updown(self, ike: FakeIkeSa, child: FakeChildSa | None = None, *, up: bool) -> None:
        section = self._ike_section(ike)
        if child is not None:
            section["child-sas"] = {f"{child.name}-{child.number}": self._child_section(child)}
        said: Section = {"up": b"yes"} if up else {}
        self._emit("child-updown" if child is not None else "ike-updown", {**said, ike.name: section})

    def _emit(self, name: str, message: Section) -> None:
        for connection in self.connections:
            connection.event(name, message)

    def _ike_section(self, ike: FakeIkeSa) -> Section:
        age = int(_now() - ike.since)
        section: Section = {
            "uniqueid": str(ike.number).encode(),
            "version": ike.config["version"].encode(),
            "state": ike.state.encode(),
            "responder-spi": b"8a8ae1b11a0bdc11" if ike.state != "CONNECTING" else b"0000000000000000",
            "nat-local": b"yes",
        }
        if ike.tasks:
            section["tasks-active"] = [task.encode() for task in ike.tasks[:1]]
        if ike.state != "CONNECTING":
            section |= {"encr-alg": b"AES_CBC", "encr-keysize": b"256", "integ-alg": b"HMAC_SHA2_256_128"}
            section |= {"dh-group": b"MODP_2048", "established": str(age).encode()}
            for key in ("rekey", "reauth"):
                if soft := _seconds(ike.config[f"{key}_time"]):
                    section[f"{key}-time"] = str(soft - age).encode()
        return section

    def _child_section(self, child: FakeChildSa) -> Section:
        age = int(_now() - child.since)
        return {
            "name": child.name.encode(),
            "uniqueid": str(child.number).encode(),
            "state": child.state.encode(),
            "mode": child.config["mode"].upper().encode(),
            "encap": b"yes" if child.encap else b"no",
            "spi-in": f"{child.spi:08x}".encode(),
            "spi-out": f"{child.spi ^ 0xFFFF:08x}".encode(),
            "encr-alg": b"AES_CBC",
            "encr-keysize": b"256",
            "integ-alg": b"HMAC_SHA2_256_128",
            "bytes-in": str(84 * child.packets_in).encode(),
            "packets-in": str(child.packets_in).encode(),
            "rekey-time": str(_seconds(child.config["rekey_time"]) - age).encode(),
            "life-time": str(_seconds(child.config["life_time"]) - age).encode(),
            "install-time": str(age).encode(),
            "local-ts": [selector.encode() for selector in child.config["local_ts"]],
            "remote-ts": [selector.encode() for selector in child.config["remote_ts"]],
        }


class FakeVici:
    """One connection to it: the interface ``mcastd.ipsec.charon.Vici``."""

    def __init__(self, charon: FakeCharon) -> None:
        self._charon = charon
        self._lock = asyncio.Lock()
        self._broken = asyncio.get_running_loop().create_future()
        self._events: deque[tuple[str, Section]] = deque()
        self._arrived = asyncio.Event()  # an event, or the end of the connection
        self._registered: set[str] = set()

    async def command(
        self,
        name: str,
        message: Mapping[str, Any] | None = None,
        *,
        stream: str | None = None,
        on_event: EventHandler | None = None,
        timeout: float = COMMAND_TIMEOUT,
    ) -> Section:
        def emit(event: str, section: Section) -> None:
            if event == stream and on_event is not None and not self._broken.done():
                on_event(event, section)

        async with self._lock:
            await self.pause(0)
            try:
                async with asyncio.timeout(timeout):
                    return await self._charon.answer(self, name, message or {}, emit)
            except TimeoutError:
                raise self.break_off(ViciNoAnswer(f"charon did not answer within {timeout:g} s")) from None
            except ViciUnreadable as error:
                raise self.break_off(error) from None
            except asyncio.CancelledError:
                self.break_off(ViciUnreadable("an answer of charon was not waited for"))
                raise

    async def register(self, *events: str) -> None:
        if self._charon.silent:
            await self.pause(COMMAND_TIMEOUT)
            raise self.break_off(ViciNoAnswer(f"charon did not answer within {COMMAND_TIMEOUT:g} s"))
        await self.pause(0)
        if unknown := self._charon.unknown_events.intersection(events):
            raise ViciRefused(f"charon does not know the event {min(unknown)}")
        self._registered.update(events)

    async def listen(self, on_event: EventHandler, log_marks: Sequence[bytes] = ()) -> None:
        while True:
            while self._events:
                name, message = self._events.popleft()
                if name != "log" or any(mark in cast("bytes", message["msg"]) for mark in log_marks):
                    on_event(name, message)
            self._arrived.clear()
            await self._arrived.wait()
            if self._broken.done():
                raise self._broken.result()

    def close(self) -> None:
        self.break_off(ViciUnavailable("the connection to charon is closed"))

    def event(self, name: str, message: Section) -> None:
        """charon reports an event, to whom has registered for it."""
        if name in self._registered:
            self._events.append((name, message))
            self._arrived.set()

    def break_off(self, error: ViciError) -> ViciError:
        """The connection breaks; whatever waits on it, and comes later, fails."""
        if not self._broken.done():
            self._broken.set_result(error)
            self._arrived.set()
            with suppress(ValueError):
                self._charon.connections.remove(self)
        return error

    async def pause(self, seconds: float | None, *until: asyncio.Future[Any]) -> None:
        """Let time pass on charon's side, or wait for one of these; raises when the connection breaks."""
        await asyncio.wait({self._broken, *until}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if self._broken.done():
            raise self._broken.result()


def _matches(message: Mapping[str, Any], ike: FakeIkeSa, child: FakeChildSa | None) -> bool:
    if "child-id" in message:
        return child is not None and message["child-id"] == str(child.number)
    if "child" in message:
        return child is not None and (message["ike"], message["child"]) == (ike.name, child.name)
    return child is None and (message.get("ike-id") == str(ike.number) or message.get("ike") == ike.name)


def _listed_connection(config: Mapping[str, Any]) -> Section:
    """A connection as ``list-conns`` has it: without its proposals."""
    ends: Section = {
        key: [one.encode() for one in config.get(key, ["%any"])] for key in ("local_addrs", "remote_addrs")
    }
    for side in ("local", "remote"):
        ends[f"{side}-1"] = {"id": config.get(side, {}).get("id", "%any").encode(), "groups": [], "certs": []}
    children: Section = {}
    for name, child in config.get("children", {}).items():
        selectors: Section = {f"{side}-ts": [ts.encode() for ts in child[f"{side}_ts"]] for side in ("local", "remote")}
        children[name] = {"mode": child.get("mode", "tunnel").upper().encode(), **selectors}
    return {**ends, "children": children}


def _seconds(value: str) -> int:
    return int(value.removesuffix("s"))


def _now() -> float:
    return asyncio.get_running_loop().time()
