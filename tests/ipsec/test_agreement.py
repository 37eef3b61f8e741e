"""What two sides may agree on, with two real charons: certificates, IKEv1, reauthentication, selectors, refusals."""

import asyncio
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path

import msgspec
import pytest

from mcastd.config.credentials import Certificates
from mcastd.config.model import Peer
from mcastd.ipsec.messages import terminate
from tests.ipsec.agents import BOTH, Running, both_up, eventually, running, spis
from tests.ipsec.certificates import Authority, read
from tests.ipsec.charons import (
    CLOUD,
    DC,
    DEADLINE,
    PSK,
    Scene,
    article,
    command,
    gre,
    list_authorities,
    list_conns,
    list_keys,
    list_sas,
    list_shared,
    load,
    local_selectors,
    mirrored,
    tcp,
    until,
)

pytestmark = pytest.mark.root

CERTIFIED = {"psk_file": None, "local_cert": Path("cert"), "local_key": Path("key"), "ca_certs": (Path("ca"),)}


class Issued:
    """An authority, and what it has issued to both sides."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder, "ca")
        self.ours = self.authority.issue("cloud", CLOUD)
        self.theirs = self.authority.issue("dc", DC)
        self.at_dc = read(self.theirs, self.authority.certificate)
        self.at_cloud = read(self.ours, self.authority.certificate)


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    return Issued(tmp_path_factory.mktemp("certificates"))


def test_certificates_bring_both_children_up_and_going_down_leaves_none(
    scene: Scene, ledger: Path, issued: Issued
) -> None:
    async def test() -> None:
        peer = article(**CERTIFIED)
        await load(scene.dc, mirrored(peer), certificates=issued.at_dc)
        async with running(scene, ledger) as agent:
            agent.start(peer, certificates=issued.at_cloud)
            await until(lambda: agent.up(*BOTH), "both children up")
            assert await list_authorities(scene.cloud) == [b"mcastd-dc-1"]
            assert len(await list_keys(scene.cloud)) == 1
            await agent.kill()
            await agent.agent.close()
            assert await list_authorities(scene.cloud) == []
            assert await list_keys(scene.cloud) == []
            assert await list_conns(scene.cloud) == set()
            assert not ledger.exists()

    asyncio.run(test())


def test_rotated_certificates_are_taken_over_without_touching_the_sas_and_used_for_the_next(
    scene: Scene, ledger: Path, issued: Issued
) -> None:
    async def test() -> None:
        peer = article(**CERTIFIED)
        await load(scene.dc, mirrored(peer), certificates=issued.at_dc)
        async with running(scene, ledger) as agent:
            agent.start(peer, certificates=issued.at_cloud)
            await until(lambda: agent.up(*BOTH), "both children up")
            before, old_key = await spis(scene), await list_keys(scene.cloud)
            another = Authority(issued.folder, "another ca")
            pair = another.issue("cloud again", CLOUD)
            agent.want(peer, certificates=read(pair, issued.authority.certificate, another.certificate))
            await agent.agent.settled()
            assert await spis(scene) == before
            assert len(await list_keys(scene.cloud)) == 1
            assert await list_keys(scene.cloud) != old_key
            assert set(await list_authorities(scene.cloud)) == {b"mcastd-dc-1", b"mcastd-dc-2"}
            theirs = another.issue("dc again", DC)
            await load(scene.dc, mirrored(peer), certificates=read(theirs, another.certificate))
            await command(scene.dc, "terminate", {"ike": "cloud", "timeout": "2000"})
            await until(lambda: agent.generation("dc-tun-gre") == 2 and agent.up(*BOTH), "up with the new ones")

    asyncio.run(test())


def _by_another(issued: Issued) -> Certificates:
    return read(issued.ours, Authority(issued.folder, "stranger").certificate)


def _another_pinned(issued: Issued) -> Certificates:
    return read(issued.ours, issued.authority.certificate, remote=issued.ours[0])


def _by_a_stranger(issued: Issued) -> Certificates:
    stranger = Authority(issued.folder, "a stranger of theirs")
    return read(stranger.issue("stranger", CLOUD), issued.authority.certificate)


def _key_of_another(issued: Issued) -> Certificates:
    return read((issued.ours[0], issued.theirs[1]), issued.authority.certificate)


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        (_by_another, 'was issued by none of ca_certs: "CN=ca"'),
        (_another_pinned, "is not remote_cert"),
        (_by_a_stranger, "our certificate is not trusted by the peer, or an identity differs"),
        (_key_of_another, "local_key is not the private key of local_cert"),
    ],
)
def test_what_is_wrong_with_certificates_has_its_reason(
    scene: Scene, ledger: Path, issued: Issued, ours: Callable[[Issued], Certificates], words: str
) -> None:
    async def test() -> None:
        peer = article(**CERTIFIED)
        await load(scene.dc, mirrored(peer), certificates=issued.at_dc)
        async with running(scene, ledger) as agent:
            agent.start(peer, certificates=ours(issued))
            await until(lambda: words in agent.problem(), words)
            assert not agent.up("dc-tun-gre")

    asyncio.run(test())


def test_their_certificate_alone_can_be_what_is_trusted(scene: Scene, ledger: Path, issued: Issued) -> None:
    async def test() -> None:
        peer = article(**(CERTIFIED | {"ca_certs": (), "remote_cert": Path("theirs")}))
        await load(scene.dc, mirrored(article(**CERTIFIED)), certificates=issued.at_dc)
        async with running(scene, ledger) as agent:
            agent.start(peer, certificates=read(issued.ours, remote=issued.theirs[0]))
            await until(lambda: agent.up(*BOTH), "both children up")
            assert await list_authorities(scene.cloud) == []

    asyncio.run(test())


def test_a_key_that_another_program_loaded_stays(scene: Scene, ledger: Path, issued: Issued) -> None:
    async def test() -> None:
        await command(scene.cloud, "load-key", {"type": "any", "data": issued.at_cloud.key})
        peer = article(**CERTIFIED)
        async with running(scene, ledger) as agent:
            agent.start(peer, certificates=issued.at_cloud)
            await agent.agent.settled()
            await agent.kill()
            await agent.agent.close()
        assert len(await list_keys(scene.cloud)) == 1

    asyncio.run(test())


def test_from_a_pre_shared_key_to_certificates_everything_is_established_again(
    scene: Scene, ledger: Path, issued: Issued
) -> None:
    async def test() -> None:
        async with running(scene, ledger) as agent:
            await both_up(scene, agent)
            before = await spis(scene)
            peer = article(**CERTIFIED)
            await load(scene.dc, mirrored(peer), certificates=issued.at_dc)
            agent.want(peer, certificates=issued.at_cloud)
            await until(lambda: agent.generation("dc-tun-gre") == 2 and agent.up(*BOTH), "up by certificates")
            assert not before & await spis(scene)
            assert await list_shared(scene.cloud) == []

    asyncio.run(test())


def test_a_refused_child_is_tried_again_and_again_while_the_other_stays_as_it_is(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        await load(scene.dc, mirrored(article()))
        wrong = gre(remote_ts=IPv4Network("10.99.0.0/24"))
        async with running(scene, ledger) as agent:
            agent.start(article(children=(wrong, tcp()), retry_min=0.1, retry_max=0.2))
            await until(lambda: agent.status().attempts > 8, "many refusals")
            assert "TS_UNACCEPTABLE" in agent.problem()
            assert agent.generation("dc-tun-tcp") == 1
            assert agent.up("dc-tun-tcp")
            (sa,) = await list_sas(scene.cloud)
            assert {child.name for child in sa.children} == {"dc-tun-tcp"}
            assert agent.status().state == "up"

    asyncio.run(test())


def test_children_for_gre_alone(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        peer = article(children=(gre(protocol="gre"), tcp()))
        await load(scene.dc, mirrored(peer))
        async with running(scene, ledger) as agent:
            agent.start(peer)
            await until(lambda: agent.up(*BOTH), "both children up")
            assert b"10.44.6.1/32[gre]" in await local_selectors(scene.cloud)
            assert agent.status().children[0].protocol == "gre"

    asyncio.run(test())


async def reauthenticate(scene: Scene, agent: Running) -> None:
    """Have charon do it, and wait until the new IKE_SA has both children and the old one is gone."""
    (old,) = await list_sas(scene.cloud)
    await command(scene.cloud, "rekey", {"ike": "dc", "reauth": "yes"})
    async with asyncio.timeout(3 * DEADLINE):
        while old.uniqueid in {sa.uniqueid for sa in await list_sas(scene.cloud)} or not agent.up(*BOTH):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await eventually(scene, 2)
    assert len(await list_sas(scene.cloud)) == 1


def test_ikev1_is_reauthenticated_and_its_children_stay(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        await load(scene.dc, mirrored(article(version=1)))
        async with running(scene, ledger) as agent:
            agent.start(article(version=1))
            await until(lambda: agent.up(*BOTH), "both children up")
            before = await spis(scene)
            await reauthenticate(scene, agent)
            assert await spis(scene) == before
            assert [agent.generation(name) for name in BOTH] == [1, 1]
            assert agent.status().attempts == 2

    asyncio.run(test())


def test_ikev1_reports_a_wrong_pre_shared_key(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        await load(scene.dc, mirrored(article(version=1)))
        async with running(scene, ledger) as agent:
            agent.start(article(version=1, initiate_timeout=4.0), psk=b"wrong")
            await until(lambda: "the PSK" in agent.problem(), "the reason in words")

    asyncio.run(test())


def test_a_reauthentication_that_breaks_before_it_makes_leaves_no_duplicates(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        await load(scene.dc, mirrored(article()))
        async with running(scene, ledger) as agent:
            agent.start(article(reauthentication=True))
            await until(lambda: agent.up(*BOTH), "both children up")
            before = await spis(scene)
            for _ in range(3):
                await reauthenticate(scene, agent)
            assert not before & await spis(scene)

    asyncio.run(test())


@pytest.mark.parametrize(
    "after",
    [
        article(reauthentication=True),
        article(lifetime=7200.0, children=(gre(lifetime=600.0), tcp())),
        msgspec.structs.replace(article(), psk_file=Path("/another")),
    ],
    ids=["reauthentication", "lifetimes", "psk file"],
)
def test_what_no_sa_depends_on_is_reloaded_without_touching_one(scene: Scene, ledger: Path, after: Peer) -> None:
    async def test() -> None:
        async with running(scene, ledger) as agent:
            await both_up(scene, agent)
            before = await spis(scene)
            agent.want(after, psk=PSK)
            await agent.agent.settled()
            assert await spis(scene) == before
            assert agent.status().attempts == 2

    asyncio.run(test())


def test_lifetimes_that_an_sa_was_not_made_with_are_noted_until_it_is_another(scene: Scene, ledger: Path) -> None:
    async def test() -> None:
        async with running(scene, ledger) as agent:
            await both_up(scene, agent)
            assert agent.snapshot().notes == ()
            agent.want(article(lifetime=7200.0, children=(gre(lifetime=600.0), tcp())))
            await agent.agent.settled()
            ike, child = agent.snapshot().notes
            assert ike.startswith("peers.dc.lifetime: the IKE_SA that is up has another one, ")
            assert child.startswith("peers.dc.children.dc-tun-gre.lifetime: the CHILD_SA that is up has 1h, ")
            before = await spis(scene)
            await command(scene.cloud, "rekey", {"child": "dc-tun-gre"})
            async with asyncio.timeout(DEADLINE):
                while await spis(scene) == before:  # noqa: ASYNC110  # there is no event: it is another process
                    await asyncio.sleep(0.05)
            await agent.agent.refresh()
            assert agent.snapshot().notes == (ike, child)
            await command(scene.cloud, "terminate", terminate({"ike": "dc"}, 2.0))
            await until(
                lambda: all(agent.generation(name) == 2 for name in BOTH) and agent.up(*BOTH), "established again"
            )
            assert agent.snapshot().notes == ()

    asyncio.run(test())
