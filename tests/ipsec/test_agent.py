"""The agent with two real charons, user-space ESP between them."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import msgspec
import pytest

from mcastd.config.model import Peer
from mcastd.ipsec.agent import IpsecAgent
from mcastd.ipsec.credentials import shared_id
from mcastd.ipsec.esp_replay import EspReplay
from mcastd.ipsec.messages import initiate, terminate
from mcastd.ipsec.sas import Section
from mcastd.ipsec.state import ChildView
from mcastd.ipsec.vici import ViciConnection
from tests.ipsec.agents import BOTH, Running, both_up, eventually, running, spis
from tests.ipsec.charons import (
    CLOUD,
    DC,
    DEADLINE,
    PSK,
    Scene,
    article,
    command,
    gre,
    list_conns,
    list_sas,
    list_shared,
    load,
    mirrored,
    tcp,
    until,
)

pytestmark = pytest.mark.root


# Different enough for the data centre's charon not to use the IKE_SA that is there.
ANOTHER = msgspec.structs.replace(
    mirrored(article()), name="cloud-again", proposals=("aes256-sha256-modp2048", "aes128-sha256-modp2048")
)


def test_both_children_come_up_on_one_ike_sa_and_status_says_how(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        async with running(scene, ledger) as agent:
            await both_up(scene, agent)
            await agent.agent.settled()
            await agent.agent.refresh()
            peer = agent.status()
            assert (peer.state, peer.problem, peer.attempts) == ("up", None, 2)
            assert peer.proposal == "AES_CBC-256/HMAC_SHA2_256_128/MODP_2048"
            assert [child.state for child in peer.children] == ["up", "up"]
            assert peer.children[1].proposal == "AES_CBC-256/HMAC_SHA2_256_128/MODP_2048"
            view = agent.agent.children()["dc-tun-gre"]
            assert view == ChildView(True, 1, True, "AES_CBC", "HMAC_SHA2_256_128")
            assert peer.children[0].mode == "tunnel"
            assert agent.changes > 0
            (sa,) = await list_sas(scene.cloud)
            assert len(sa.children) == 2

    asyncio.run(test())


@dataclass
class ReplayCalls:
    """What an agent asks of ESP replay."""

    installed: list[str] = field(default_factory=list)
    remotes: frozenset[IPv4Address] = frozenset()
    locals_: frozenset[IPv4Address] = frozenset()
    listed: frozenset[str] = frozenset()

    def watch(
        self,
        _: EspReplay,
        remotes: AbstractSet[IPv4Address],
        locals_: AbstractSet[IPv4Address],
        listed: AbstractSet[int],
    ) -> None:
        self.remotes, self.locals_ = frozenset(remotes), frozenset(locals_)
        self.listed = frozenset(f"{spi:08x}" for spi in listed)

    def inbound(self, agent: Running) -> set[str | None]:
        return {child.spi_in for child in agent.status().children}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> ReplayCalls:
    calls = ReplayCalls()
    monkeypatch.setattr(EspReplay, "keys_installed", lambda _, spi: calls.installed.append(f"{spi:08x}"))
    monkeypatch.setattr(EspReplay, "watch", lambda *args: calls.watch(*args))
    return calls


def test_early_esp_is_replayed_where_a_replay_window_refuses_what_was_received(
    scene: Scene, ledger: Path, calls: ReplayCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    came: list[str] = []
    genuine = IpsecAgent._keys_installed

    def keys_installed(self: IpsecAgent, name: str, child: str, spi: int) -> None:
        genuine(self, name, child, spi)
        came.append(child)

    monkeypatch.setattr(IpsecAgent, "_keys_installed", keys_installed)

    async def test() -> None:
        peer = article(children=(gre(replay_window=0), tcp()))
        await load(scene.dc, mirrored(peer))
        async with running(scene, ledger) as agent:
            agent.start(peer)
            await until(lambda: agent.up(*BOTH), "both children up")
            _, other = agent.status().children
            await until(lambda: set(came) >= set(BOTH), "the events of both")
            assert calls.installed == [other.spi_in]

    asyncio.run(test())


def test_a_rekeyed_child_s_early_esp_is_replayed_at_once(scene: Scene, ledger: Path, calls: ReplayCalls) -> None:
    async def test() -> None:
        async with running(scene, ledger) as agent:
            await both_up(scene, agent)
            before = calls.inbound(agent)
            await command(scene.cloud, "rekey", {"child": "dc-tun-gre"})
            await until(lambda: len(calls.installed) == 3, "the event")
            await until(lambda: calls.installed[-1] in calls.inbound(agent) - before, "the new SA")

    asyncio.run(test())


def test_nothing_is_replayed_that_the_firewall_does_not_hold_to_the_selectors(
    scene: Scene, ledger: Path, calls: ReplayCalls
) -> None:
    async def test() -> None:
        async with running(scene, ledger) as agent:
            agent.allow_replay(False)
            await both_up(scene, agent)
            await agent.agent.refresh()
            assert (calls.installed, calls.remotes) == ([], frozenset())
            agent.allow_replay(True)
            await agent.agent.refresh()
            assert calls.remotes

    asyncio.run(test())


def test_it_is_known_which_spis_have_keys_and_between_whom(scene: Scene, ledger: Path, calls: ReplayCalls) -> None:
    async def test() -> None:
        async with running(scene, ledger) as agent:
            await both_up(scene, agent)
            await until(lambda: calls.listed == calls.inbound(agent), "all SPIs that have keys")
            assert calls.remotes == {IPv4Address("177.54.214.20")}
            assert calls.locals_ == {article().local}
            scene.cloud.stop()
            await until(lambda: (calls.remotes, calls.listed) == (frozenset(), frozenset()), "none without charon")

    asyncio.run(test())


@pytest.mark.parametrize("message", [{"dc": {"child-sas": {"x": {"spi-in": b"-"}}}}, {"dc": {}}, {"dc": b"?"}])
def test_an_event_that_cannot_be_read_ends_nothing(
    scene: Scene, ledger: Path, calls: ReplayCalls, monkeypatch: pytest.MonkeyPatch, message: Section
) -> None:
    genuine = ViciConnection.listen

    async def listen(
        self: ViciConnection, on_event: Callable[[str, Section], None], log_marks: Sequence[bytes] = ()
    ) -> None:
        on_event("child-updown", {"up": b"yes", **message})
        await genuine(self, on_event, log_marks)

    monkeypatch.setattr(ViciConnection, "listen", listen)

    async def test() -> None:
        async with running(scene, ledger) as agent:
            await both_up(scene, agent)
            await until(lambda: set(calls.installed) == calls.inbound(agent), "the events that follow")

    asyncio.run(test())


@pytest.mark.parametrize(
    ("mine", "psk", "problem"),
    [
        (article(), b"wrong", "AUTHENTICATION_FAILED: the PSK or an identity differs"),
        (article(local_id="9.9.9.9"), PSK, "AUTHENTICATION_FAILED: the PSK or an identity differs"),
        (article(proposals=("aes128-sha1-modp1024",)), PSK, "our IKE proposal: aes128-sha1-modp1024"),
        (article(children=(gre(proposals=("aes128-sha1",)),)), PSK, "our ESP proposal of dc-tun-gre: aes128-sha1"),
        (article(children=(gre(remote_ts=IPv4Network("10.99.0.0/24")),)), PSK, "TS_UNACCEPTABLE"),
        (article(remote=IPv4Address("177.54.214.21")), PSK, "no answer from 177.54.214.21 on UDP 500/4500"),
    ],
)
def test_each_failure_has_its_reason(scene: Scene, ledger: Path, mine: Peer, psk: bytes, problem: str) -> None:
    async def test() -> None:
        await load(scene.dc, mirrored(article()))
        async with running(scene, ledger) as agent:
            agent.start(mine, psk=psk)
            await until(lambda: problem in agent.problem(), problem)
            assert "wrong" not in agent.problem()

    asyncio.run(test())


def test_one_wrong_child_does_not_hold_up_the_other(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        await load(scene.dc, mirrored(article()))
        async with running(scene, ledger) as agent:
            agent.start(article(children=(gre(remote_ts=IPv4Network("10.99.0.0/24")), tcp())))
            await until(
                lambda: agent.up("dc-tun-tcp") and "TS_UNACC" in agent.problem(), "one up, one with its problem"
            )

    asyncio.run(test())


def test_a_child_that_the_peer_deletes_comes_back(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        async with running(scene, ledger) as agent:
            await both_up(scene, agent)
            tcp_spi = {c.spi_in for sa in await list_sas(scene.cloud) for c in sa.children if c.name == "dc-tun-tcp"}
            (sa,) = await list_sas(scene.dc)
            number = next(child.uniqueid for child in sa.children if child.name == "dc-tun-gre")
            await command(scene.dc, "terminate", terminate({"child-id": number}, 2.0))
            await until(lambda: agent.generation("dc-tun-gre") == 2 and agent.up(*BOTH), "the child is up again")
            assert tcp_spi < await spis(scene)

    asyncio.run(test())


def test_an_ike_sa_that_the_peer_deletes_comes_back(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        async with running(scene, ledger) as agent:
            await both_up(scene, agent)
            await command(scene.dc, "terminate", terminate({"ike": "cloud"}, 2.0))
            await until(lambda: all(agent.generation(name) == 2 for name in BOTH) and agent.up(*BOTH), "up again")
            assert len(await list_sas(scene.cloud)) == 1

    asyncio.run(test())


def test_charon_may_come_late_and_be_killed_and_come_again(scene: Scene, ledger: Path) -> None:
    scene.cloud.stop()

    async def test() -> None:
        await load(scene.dc, mirrored(article()))
        async with running(scene, ledger) as agent:
            agent.start(article())
            await agent.agent.settled()
            assert "charon does not answer" in (agent.status().problem or "")
            scene.cloud.start()
            await until(lambda: agent.up(*BOTH), "up with a late charon")
            scene.cloud.stop(signal.SIGKILL)
            await until(lambda: not agent.up("dc-tun-gre") and not agent.up("dc-tun-tcp"), "down without charon")
            scene.cloud.start()
            await until(lambda: agent.up(*BOTH), "up again")
            assert agent.generation("dc-tun-gre") == 2
            assert len(await list_sas(scene.dc)) == 1, "the other side has forgotten the IKE_SA from before"

    asyncio.run(test())


def test_what_is_up_after_a_crash_is_adopted(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        async with running(scene, ledger) as agent:
            await both_up(scene, agent)
        before = await spis(scene)
        async with running(scene, ledger) as agent:
            agent.start(article())
            await until(lambda: agent.up(*BOTH), "adopted")
            await agent.agent.settled()
            assert agent.status().attempts == 0
            assert await spis(scene) == before

    asyncio.run(test())


def test_after_a_crash_only_what_the_new_file_changes_is_established_again(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        async with running(scene, ledger) as agent:
            await both_up(scene, agent)
        kept = {c.spi_in for sa in await list_sas(scene.cloud) for c in sa.children if c.name == "dc-tun-tcp"}
        changed = article(children=(gre(proposals=("aes256-sha256-modp2048", "aes128-sha256-modp2048")), tcp()))
        async with running(scene, ledger) as agent:
            agent.start(changed)
            await until(
                lambda: agent.up(*BOTH) and agent.status().attempts == 1, "the changed child is established again"
            )
            assert kept < await spis(scene)

    asyncio.run(test())


def test_close_leaves_charon_and_the_ledger_empty_and_the_peer_receives_a_delete(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        async with running(scene, ledger) as agent:
            await both_up(scene, agent)
            await agent.kill()
            await agent.agent.close()
            assert await list_sas(scene.cloud) == ()
            assert await list_conns(scene.cloud) == set()
            assert await list_shared(scene.cloud) == []
            assert await list_sas(scene.dc) == ()
            assert not ledger.exists()

    asyncio.run(test())


def test_close_without_an_answer_from_the_peer_still_ends(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        async with running(scene, ledger) as agent:
            await both_up(scene, agent)
            scene.dc.stop(signal.SIGKILL)
            await agent.kill()
            await agent.agent.close()
            assert await list_sas(scene.cloud) == ()
            assert not ledger.exists()

    asyncio.run(test())


def test_close_removes_what_an_earlier_file_loaded(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        async with running(scene, ledger) as agent:
            await both_up(scene, agent)
        async with running(scene, ledger) as agent:
            await agent.agent.close()
            assert await list_conns(scene.cloud) == set()
            assert await list_sas(scene.cloud) == ()

    asyncio.run(test())


def test_a_connection_of_another_program_is_not_touched(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        await load(scene.dc, mirrored(article()))
        await load(scene.cloud, article())
        await command(scene.cloud, "load-shared", {"id": "theirs", "type": "IKE", "data": PSK, "owners": [CLOUD, DC]})
        await command(scene.cloud, "unload-shared", {"id": shared_id("dc")})  # by which mcastd would know it as its own
        await command(scene.cloud, "initiate", initiate("dc", "dc-tun-gre", 5))
        before = await spis(scene)
        async with running(scene, ledger) as agent:
            agent.start(article())
            await agent.agent.settled()
            assert "does not touch" in (agent.status().problem or "")
            assert agent.status().state == "down"
            assert not agent.up("dc-tun-gre")
            await agent.kill()
            await agent.agent.close()
        assert await list_conns(scene.cloud) == {"dc"}
        assert await spis(scene) == before

    asyncio.run(test())


def test_duplicates_that_the_peer_makes_are_pruned(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        async with running(scene, ledger) as agent:
            await both_up(scene, agent)
            before = await spis(scene)
            await load(scene.dc, ANOTHER)
            for child in BOTH:
                await command(scene.dc, "initiate", initiate("cloud-again", child, 5))
            assert len(await spis(scene)) == 4
            await eventually(scene, 2)
            assert not before & await spis(scene)
            assert len(await list_sas(scene.cloud)) == 1
            assert [agent.generation(name) for name in BOTH] == [1, 1]

    asyncio.run(test())


def test_a_duplicate_child_is_pruned_where_its_ike_sa_is_needed(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        async with running(scene, ledger) as agent:
            await both_up(scene, agent)
            await load(scene.dc, ANOTHER)
            await command(scene.dc, "initiate", initiate("cloud-again", "dc-tun-gre", 5))
            assert len(await spis(scene)) == 3
            await eventually(scene, 2)
            assert agent.up(*BOTH)
            assert agent.generation("dc-tun-gre") == 1

    asyncio.run(test())


@pytest.mark.parametrize("message", [{"child": "dc-tun-gre"}, {"ike": "cloud"}], ids=["child", "ike"])
def test_a_rekey_by_the_peer_is_neither_a_loss_nor_a_duplicate(
    scene: Scene, ledger: Path, message: dict[str, object]
) -> None:
    async def test() -> None:
        async with running(scene, ledger) as agent:
            await both_up(scene, agent)
            (old,) = await list_sas(scene.cloud)
            await command(scene.dc, "rekey", message)
            async with asyncio.timeout(DEADLINE):
                while [(sa.uniqueid, await spis(scene)) for sa in await list_sas(scene.cloud)] == [  # noqa: ASYNC110
                    (old.uniqueid, {child.spi_in for child in old.children})
                ]:
                    await asyncio.sleep(0.05)
            await eventually(scene, 2)
            await agent.agent.refresh()
            assert agent.up(*BOTH)
            assert [agent.generation(name) for name in BOTH] == [1, 1]
            assert agent.status().attempts == 2

    asyncio.run(test())


def test_reload_changes_what_changed_and_nothing_else(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        async with running(scene, ledger) as agent:
            await both_up(scene, agent)
            before = await spis(scene)

            agent.want(article(lifetime=7200.0, retry_max=30.0))
            await agent.agent.settled()
            assert await spis(scene) == before

            agent.want(article(), psk=b"another")
            await agent.agent.settled()
            assert await spis(scene) == before

            agent.want(article(children=(gre(),)), psk=PSK)
            await agent.agent.settled()
            await eventually(scene, 1)
            assert await spis(scene) < before
            assert "dc-tun-tcp" not in agent.agent.children()

            agent.want(article())
            await until(lambda: agent.up(*BOTH), "the child that is back in the file")
            assert agent.generation("dc-tun-gre") == 1

            agent.want()
            await agent.agent.settled()
            assert await list_conns(scene.cloud) == set()
            assert await list_sas(scene.cloud) == ()
            assert not ledger.exists()

    asyncio.run(test())


def test_a_repaired_file_brings_the_child_up_without_waiting_for_the_attempt_that_hangs(
    scene: Scene, ledger: Path
) -> None:
    async def test() -> None:
        await load(scene.dc, mirrored(article()))
        async with running(scene, ledger) as agent:
            agent.start(article(remote=IPv4Address("177.54.214.21"), initiate_timeout=120.0))
            await until(lambda: agent.status().state == "connecting", "an attempt that hangs")
            agent.want(article())
            await until(lambda: agent.up(*BOTH), "up with the repaired file")
            assert len(await list_sas(scene.cloud)) == 1

    asyncio.run(test())


def test_a_refresh_that_fails_for_a_reason_of_ours_says_so(
    scene: Scene, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async def broken(_control: object) -> None:
            raise RuntimeError("ours")

        async with running(scene, ledger) as agent:
            await both_up(scene, agent)
            await agent.agent.settled()
            monkeypatch.setattr("mcastd.ipsec.agent.list_sas", broken)
            with pytest.raises(RuntimeError, match="ours"):
                await agent.agent.refresh()

    asyncio.run(test())


def test_a_restarted_child_is_established_again_and_nothing_else(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        async with running(scene, ledger) as agent:
            await both_up(scene, agent)
            (before,) = await list_sas(scene.cloud)
            agent.restart("dc-tun-gre")
            await until(
                lambda: agent.generation("dc-tun-gre") == 2 and agent.up(*BOTH), "the child is established again"
            )
            (after,) = await list_sas(scene.cloud)
            assert after.uniqueid == before.uniqueid
            spi = {child.name: child.spi_in for child in before.children}
            assert {child.name for child in after.children if child.spi_in == spi[child.name]} == {"dc-tun-tcp"}
            assert agent.generation("dc-tun-tcp") == 1

    asyncio.run(test())


def test_a_restarted_child_takes_an_ike_sa_with_it_that_the_peer_has_forgotten(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        async with running(scene, ledger) as agent:
            await both_up(scene, agent)
            (before,) = await list_sas(scene.cloud)
            scene.dc.stop(signal.SIGKILL)
            scene.dc.start()
            await asyncio.to_thread(scene.dc.wait_ready)
            await load(scene.dc, mirrored(article()))
            assert agent.up(*BOTH)
            agent.restart("dc-tun-gre")
            await until(lambda: [agent.generation(name) for name in BOTH] == [2, 2], "both are established again")
            (after,) = await list_sas(scene.cloud)
            assert after.uniqueid != before.uniqueid

    asyncio.run(test())


def test_a_child_that_is_not_up_is_left_to_its_tries(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        async with running(scene, ledger) as agent:
            agent.start(article(retry_min=60.0))
            await until(lambda: bool(agent.problem()), "the other side refuses")
            agent.restart("dc-tun-gre")
            agent.restart("unconfigured")
            await load(scene.dc, mirrored(article()))
            agent.want(article(retry_min=60.0, retry_max=61.0))
            await until(lambda: agent.up(*BOTH), "up")
            assert agent.generation("dc-tun-gre") == 1

    asyncio.run(test())
