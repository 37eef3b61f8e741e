"""Whatever happens to charon, peer, file and process, and in whatever order: in the end all is up, once."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcastd.config.model import Peer
from mcastd.ipsec.ownership import CONN
from tests.fakes.charon import HANG, WRONG_PSK, WRONG_SELECTORS
from tests.fakes.clock import run, until
from tests.ipsec.charons import article, gre, tcp
from tests.ipsec.virtual import BOTH, GRE, TCP, Host

TIMES = {"initiate_timeout": 5.0, "retry_min": 0.5, "retry_max": 4.0}
SECOND = article(name="dr", remote=IPv4Address("177.54.214.30"), children=(tcp(),), **TIMES)
FILES: dict[str, tuple[Peer, ...]] = {
    "the article's": (article(**TIMES),),
    "one child less": (article(children=(gre(),), **TIMES),),
    "another child": (article(children=(gre(proposals=("aes128-sha256",)), tcp()), **TIMES),),
    "another peer": (article(proposals=("aes128-sha256-modp2048",), **TIMES),),
    "two peers": (article(children=(gre(),), **TIMES), SECOND),
    "nothing": (),
}
PAUSES = (0.0, 0.001, 0.015, 0.03, 0.3, 2.1, 6.0, 31.0)


class World:
    """A host, and what happens to it."""

    def __init__(self) -> None:
        self.host = Host()
        self.restarts = 0
        self.errors: list[dict[str, Any]] = []

    async def start(self) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.errors.append(context))
        self.host.configure(*FILES["the article's"])
        self.host.start()

    async def file(self, name: str) -> None:
        """A reload; the next can only come when it is carried out, or after 10 seconds."""
        self.host.configure(*FILES[name])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10.0):
                await self.host.agent.settled()

    async def process(self, name: str) -> None:
        await self.host.next_process(*FILES[name])

    async def restart(self, child: str) -> None:
        self.restarts += 1
        self.host.restart(child, self.restarts)

    async def deleted(self, what: str) -> None:
        self.host.charon.delete(*([] if what == "the IKE_SA" else [what]))

    async def rekeyed(self, what: str) -> None:
        charon = self.host.charon
        if what == "the IKE_SA" and len(charon.sas) == 1 and charon.sas[0].state == "ESTABLISHED":
            charon.rekey_ike()
        elif what in charon.spis():
            charon.rekey(what)

    async def peer_initiates(self, child: str) -> None:
        for name, conn in self.host.charon.conns.items():
            if child in conn["children"]:
                self.host.charon.peer_initiates(name, child)

    async def charon(self, what: str) -> None:
        charon = self.host.charon
        match what:
            case "crashes":
                charon.end(socket=True)
            case "ends":
                charon.end()
            case "starts":
                charon.start()
            case "breaks":
                charon.disconnect()
            case "hangs":
                charon.silent = True
            case "is garbled":
                charon.spoiled["list-sas"] = "frame"
            case "is unreadable":
                charon.spoiled["list-sas"] = "-"
            case "refuses":
                charon.refused["load-conn"] = "no"
            case "forgets":
                charon.conns.clear()
            case "is well":
                self.well()

    async def peer(self, what: str) -> None:
        charon = self.host.charon
        match what:
            case "is silent":
                charon.peer_silent = True
            case "answers":
                charon.peer_silent = False
            case "has another PSK":
                charon.outcomes |= {GRE: WRONG_PSK, TCP: WRONG_PSK}
            case "refuses":
                charon.outcomes[GRE] = WRONG_SELECTORS
            case "hangs":
                charon.outcomes[TCP] = HANG
            case "agrees":
                charon.outcomes.clear()

    def well(self) -> None:
        charon = self.host.charon
        charon.start()
        charon.silent = False
        charon.spoiled.clear()
        charon.refused.clear()

    async def end_well(self) -> None:
        """Everything works again; then all that the file has is up, once, and nothing else."""
        host, charon = self.host, self.host.charon
        self.well()
        charon.peer_silent = False
        charon.outcomes.clear()
        host.configure(*FILES["the article's"])
        await host.agent.settled()
        await until(lambda: host.up(*BOTH) and not list(host.agent.problems()), "all is up", 120.0)
        await asyncio.sleep(40.0)
        assert host.up(*BOTH)
        assert list(host.agent.problems()) == []
        assert host.snapshot().charon is None
        assert charon.installed() == sorted(BOTH)
        assert [child.spi_in for child in host.peer().children] == [f"{charon.spis()[name]:08x}" for name in BOTH]
        assert {ike.state for ike in charon.sas} == {"ESTABLISHED"}
        # What another program has unloaded is loaded again when it is needed.
        assert {*charon.conns, "dc"} == {*host.ledger.entries(CONN)} == {"dc"}
        assert host.child().if_id is None
        assert not self.errors, self.errors


def happenings() -> st.SearchStrategy[list[tuple[str, str, float]]]:
    """What happens, to what, and how long after that the next does."""
    things = {
        "file": tuple(FILES),
        "process": tuple(FILES),
        "restart": BOTH,
        "deleted": (*BOTH, "the IKE_SA"),
        "rekeyed": (*BOTH, "the IKE_SA"),
        "peer_initiates": BOTH,
        "charon": (
            "crashes", "ends", "starts", "breaks", "hangs", "is garbled", "is unreadable", "refuses", "forgets",
            "is well",
        ),
        "peer": ("is silent", "answers", "has another PSK", "refuses", "hangs", "agrees"),
    }  # fmt: skip
    every = [st.tuples(st.just(name), st.sampled_from(what), st.sampled_from(PAUSES)) for name, what in things.items()]
    return st.lists(st.one_of(every), max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(happenings())
def test_in_the_end_all_is_up_once(happens: list[tuple[str, str, float]]) -> None:
    async def main() -> None:
        world = World()
        await world.start()
        await asyncio.sleep(1.0)
        try:
            for name, what, pause in happens:
                happening: Callable[[str], Awaitable[None]] = getattr(world, name)
                await happening(what)
                await asyncio.sleep(pause)
            await world.end_well()
            # One that a reload removes and another adds again is tried beside the attempt from before.
            assert world.host.charon.concurrent == 1 or {"file", "process"} & {name for name, *_ in happens}
            await world.host.kill()
            await world.host.agent.close()
            charon, ledger = world.host.charon, world.host.ledger
            assert (charon.sas, charon.conns, charon.shared, ledger.copy()) == ([], {}, {}, {})
        finally:
            await world.host.kill()

    run(main())
