"""What is forwarded in fragments where a gateway drops them: the rules, and for how long it is a problem."""

from msgspec.structs import replace

from mcastd.config.downstream import Forward
from mcastd.config.load import load
from mcastd.streams.fragments import Fragments
from mcastd.streams.table import NAME, table
from tests.composed import running
from tests.fakes.clock import simulated, until
from tests.firewall.test_rules import ARTICLE, chain, child, config, tunnel

GATEWAY = Forward(name="eth1", from_=("gre1", "gre2"), querier=False)
TUNNELS = tunnel(), tunnel("gre2")


def counting(*forward: Forward, **mtus: int) -> list[str]:
    made = config(child(), tunnels=TUNNELS, forward=forward)
    return [rule for rule in chain(table(made, mtus), "passed") if "fragments" in rule]


def test_fragments_and_what_needs_some_are_counted_by_the_smaller_mtu() -> None:
    header = 'oifname "eth1" ip daddr 224.0.0.0/4 ip daddr != 224.0.0.0/24 ip frag-off & 0x3fff'
    counter = "counter name fragments-eth1"
    assert counting(GATEWAY, gre1=1398, eth1=9001) == [
        f'iifname "gre1" {header} != 0 {counter}',
        f'iifname "gre1" {header} == 0 meta length > 1398 {counter}',
        f'iifname "gre2" {header} != 0 {counter}',
        f'iifname "gre2" {header} == 0 meta length > 9001 {counter}',
    ]
    assert counting(GATEWAY, gre1=1476, gre2=1300, eth1=1460)[1].endswith("> 1460 counter name fragments-eth1")
    assert [len(counting(GATEWAY)), counting(replace(GATEWAY, querier=True))] == [2, []]


def test_it_is_a_problem_for_some_minutes_and_what_was_counted_before_is_none() -> None:
    fragments = Fragments()
    fragments.counted({"fragments-eth1": 7, "tunnel-gre1": 9}, 1000.0)
    assert list(fragments.problems(1000.0)) == []
    fragments.counted({"fragments-eth1": 8}, 1001.0)
    (problem,) = fragments.problems(1300.0)
    assert (problem.code, problem.subject, fragments.packets) == ("fragments_forwarded", "eth1", {"eth1": 8})
    assert list(fragments.problems(1301.0)) == []
    fragments.counted({}, 1302.0)
    assert fragments.packets == {}


@simulated
async def test_the_agent_reads_the_mtus_and_the_counter() -> None:
    made = replace(load(ARTICLE, check_files=False).config, forward=(replace(GATEWAY, from_=("gre1",)),))
    async with running(made) as process:
        process.host.streams.mtu_of["gre1"] = 1398
        await until(lambda: NAME in process.host.nft.tables, "the table", 60.0)
        await until(lambda: "meta length > 1398" in "".join(process.host.nft.tables[NAME].rules), "the rule", 60.0)
        await until(lambda: process.agents.streams.status(0.0).fragments == {"eth1": 0}, "a reading", 5.0)
        counts = process.host.nft.tables[NAME].counts
        counts["fragments-eth1"] = (3, 300)
        await until(lambda: process.agents.streams.status(0.0).fragments == {"eth1": 3}, "counted", 5.0)
        assert "fragments_forwarded" in {one.code for one in process.agents.problems()}
