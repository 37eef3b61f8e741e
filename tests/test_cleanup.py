"""``mcastd cleanup`` over the fakes: everything that a daemon left is taken down, and nothing is begun."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from mcastd.cleanup import clean_up
from mcastd.config.model import Config
from mcastd.errors import HostError
from mcastd.handover import Handover
from mcastd.pim.packet import MessageType, decode_join_prune, unseal
from mcastd.system import capabilities
from mcastd.system.ledger import Ledger
from tests.composed import ARTICLE, Host, Process
from tests.fakes.clock import simulated, until
from tests.fakes.memory import MemoryLedger

BEGIN = {"initiate", "load-conn", "load-shared", "load-key", "load-cert", "load-authority"}


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "missing", lambda: ())


@contextlib.asynccontextmanager
async def left_standing(folder: Path, *, kernel: bool = True) -> AsyncIterator[Host]:
    """A host on which a daemon was joined, and ended as by SIGKILL."""
    host = Host()
    host.kernel.unsupported = set() if kernel else {"gre"}
    try:
        process = Process(host)
        process.start()
        await process.up()
        host.hello()
        await until(process.joined, "joined")
        Handover(folder, process.agents.pim, process.agents.wanted, host.log.logger).remember()
        await process.end(leaves_standing=True)
        host.log.records.clear()
        host.charon.commands.clear()
        host.pim.opened.clear()
        yield host
    finally:
        host.close()


def begun(host: Host) -> set[str]:
    return {name for name, _ in host.charon.commands} & BEGIN


def said(host: Host) -> list[int]:
    """The PIM messages that were sent, by type."""
    return [payload[0] & 15 for transport in host.pim.opened for _, payload in transport.sent]


@pytest.mark.parametrize("kernel", [True, False], ids=["GRE of the kernel", "GRE in user space"])
@simulated
async def test_everything_is_taken_down_with_prunes_and_a_goodbye_and_nothing_is_begun(
    tmp_path: Path, kernel: bool
) -> None:
    async with left_standing(tmp_path, kernel=kernel) as host:
        (tmp_path / "control.sock").touch()
        await clean_up(ARTICLE, tmp_path, host.log.logger, host.system())
        assert host.is_empty()
        assert begun(host) == set()
        assert said(host) == [MessageType.JOIN_PRUNE, MessageType.HELLO]
        assert list(tmp_path.iterdir()) == []


@simulated
async def test_what_applications_have_joined_is_pruned(tmp_path: Path) -> None:
    async with left_standing(tmp_path) as host:
        host.applications.join("239.7.7.7", ifindex=host.kernel.links["gre1"].index)
        await clean_up(ARTICLE, tmp_path, host.log.logger, host.system())
        (update,) = [payload for _, payload in host.router.sent if payload[0] & 15 == MessageType.JOIN_PRUNE]
        _, body = unseal(update)
        pruned = {str(group.group) for group in decode_join_prune(body).groups if group.pruned}
        assert pruned == {"239.7.7.7", *(str(group.group) for group in ARTICLE.groups)}
        assert host.is_empty()


@pytest.mark.parametrize("found", [b"", b"{", None], ids=["empty", "no JSON", "missing"])
@simulated
async def test_a_ledger_that_cannot_be_read_or_is_missing_leaves_nothing_either(
    tmp_path: Path, found: bytes | None
) -> None:
    async with left_standing(tmp_path) as host:
        file = tmp_path / "ledger.json"
        if found is not None:
            file.write_bytes(found)
        host.ledger_file = Ledger(file)
        await clean_up(ARTICLE, tmp_path, host.log.logger, host.system())
        assert host.is_empty()
        assert begun(host) == set()
        assert host.log.events().count("inherited_by_mark") == 4, "link, two addresses, connection"


@simulated
async def test_without_a_runtime_directory_nothing_is_left_either(tmp_path: Path) -> None:
    async with left_standing(tmp_path) as host:
        (tmp_path / "file").touch()
        host.ledger_file = Ledger(tmp_path / "file" / "run" / "ledger.json")
        await clean_up(ARTICLE, tmp_path / "file" / "run", host.log.logger, host.system())
        assert host.is_empty()
        assert begun(host) == set()


@simulated
async def test_with_an_invalid_file_the_rest_is_taken_down_as_well(tmp_path: Path) -> None:
    async with left_standing(tmp_path) as host:
        host.ledger = MemoryLedger()
        await clean_up(Config(), tmp_path, host.log.logger, host.system())
        assert host.is_empty()
        assert (begun(host), said(host)) == (set(), [])


@simulated
async def test_nothing_is_said_through_a_tunnel_whose_sa_is_down(tmp_path: Path) -> None:
    async with left_standing(tmp_path) as host:
        host.charon.delete()
        await clean_up(ARTICLE, tmp_path, host.log.logger, host.system())
        assert host.is_empty()
        assert (begun(host), said(host)) == (set(), [])


@simulated
async def test_without_charon_the_rest_is_taken_down(tmp_path: Path) -> None:
    async with left_standing(tmp_path) as host:
        host.charon.end()
        await clean_up(ARTICLE, tmp_path, host.log.logger, host.system())
        assert host.is_empty()


@simulated
async def test_what_could_not_be_taken_down_is_named(tmp_path: Path) -> None:
    async with left_standing(tmp_path) as host:
        host.charon.silent = True
        with pytest.raises(HostError, match="this could not be taken down, the log says why: vici-conn dc"):
            await clean_up(ARTICLE, tmp_path, host.log.logger, host.system())
        assert host.kernel.names() == {"lo", "eth0"}
        host.charon.silent = False
        await clean_up(ARTICLE, tmp_path, host.log.logger, host.system())
        assert host.is_empty()


@simulated
async def test_where_nothing_was_left_nothing_happens(tmp_path: Path) -> None:
    host = Host()
    try:
        for _ in range(2):
            await clean_up(ARTICLE, tmp_path / "absent", host.log.logger, host.system())
        assert (host.log.records, host.netlink.changed, host.nft.runs, begun(host)) == ([], [], [], set())
        assert not (tmp_path / "absent").exists()
        host.kernel.add_address("lo", (IPv4Interface("10.44.6.1/32"), None))
        host.ledger.remember("endpoint", "10.44.6.1/32")
        await clean_up(ARTICLE, tmp_path / "absent", host.log.logger, host.system())
        assert host.is_empty()
        assert len(host.netlink.changed) == 1
    finally:
        host.close()


@simulated
async def test_another_programs_table_and_connection_stay(tmp_path: Path) -> None:
    """They have the names of ours; of what is ours nothing stays."""
    async with left_standing(tmp_path) as host:
        theirs = host.nft.create("mcastd")
        host.ledger.forget("nftables", "ip mcastd")
        (name,) = host.charon.conns
        host.charon.conns[name] = {}
        host.charon.shared.clear()  # the mark
        for kind, entries in host.ledger.copy().items():
            for key in entries if kind.startswith("vici-") else ():
                host.ledger.forget(kind, key)
        assert len(host.nft.tables) == 2
        await clean_up(ARTICLE, tmp_path, host.log.logger, host.system())
        await asyncio.sleep(1.0)
        assert (host.nft.tables, host.charon.conns) == ({"mcastd": theirs}, {name: {}})
        assert (host.kernel.names(), host.kernel.loopback(), host.ledger.copy()) == ({"lo", "eth0"}, set(), {})
