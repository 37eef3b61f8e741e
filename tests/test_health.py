import dataclasses
from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from mcastd import health
from mcastd.status import (
    ChildStatus,
    FirewallStatus,
    GroupStatus,
    KeepaliveStatus,
    PeerStatus,
    PimStatus,
    TunnelStatus,
)

CHILD = ChildStatus(name="dc-gre", state="up", local_ts="10.44.7.1/32", remote_ts="10.44.6.1/32")
PEER = PeerStatus(
    name="dc", state="up", local="192.0.2.1", remote="198.51.100.1", local_id="a", remote_id="b", children=(CHILD,)
)
TUNNEL = TunnelStatus(
    name="gre1", state="up", datapath="kernel", local="10.44.7.1", remote="10.44.6.1", address="10.44.4.6",
    keepalive=KeepaliveStatus(reply=True, path="alive"), pim=PimStatus(running=True),
)  # fmt: skip
GROUP = GroupStatus(group="239.1.1.1", source=None, tunnel="gre1", state="joined")
FIREWALL = FirewallStatus(guard=True, in_place=True)


@dataclass(frozen=True)
class Seen:
    charon: str | None = None
    peers: tuple[PeerStatus, ...] = (PEER,)
    tunnels: tuple[TunnelStatus, ...] = (TUNNEL,)
    groups: tuple[GroupStatus, ...] = (GROUP,)
    firewall: FirewallStatus = FIREWALL
    missing: tuple[tuple[str, str], ...] = ()

    def problems(self) -> list[str]:
        fields = (getattr(self, field.name) for field in dataclasses.fields(self))
        return list(health.problems(*fields))


@pytest.mark.parametrize(
    ("seen", "problem"),
    [
        (Seen(missing=(("CAP_NET_RAW", "speak PIM"),)), "no CAP_NET_RAW: mcastd cannot speak PIM"),
        (Seen(charon="charon does not answer"), "charon does not answer"),
        (Seen(peers=(replace(PEER, state="connecting"),)), "peer dc is connecting"),
        (Seen(peers=(replace(PEER, children=(replace(CHILD, state="waiting"),)),)), "child dc-gre is waiting"),
        (Seen(tunnels=(replace(TUNNEL, state="waiting"),)), "tunnel gre1 is waiting"),
        (Seen(firewall=replace(FIREWALL, problem="no nf_tables")), "firewall: no nf_tables"),
        (
            Seen(tunnels=(replace(TUNNEL, keepalive=KeepaliveStatus(reply=True, path="dead")),)),
            "the path of tunnel gre1 is dead",
        ),
        (
            Seen(tunnels=(replace(TUNNEL, pim=PimStatus(running=True, problem="refused")),)),
            "PIM cannot send on gre1: refused",
        ),
        (Seen(groups=(GROUP, replace(GROUP, state="not joined"))), "1 of 2 joins not joined"),
    ],
)
def test_each_problem_is_told(seen: Seen, problem: str) -> None:
    assert seen.problems() == [problem]


@pytest.mark.parametrize(
    "seen",
    [
        Seen(),
        Seen(charon="charon does not answer", peers=(), tunnels=(), groups=()),
        Seen(tunnels=(replace(TUNNEL, keepalive=KeepaliveStatus(reply=True, path=None)),)),
        Seen(tunnels=(replace(TUNNEL, keepalive=None, pim=None),)),
    ],
)
def test_nothing_is_told_where_all_is_well(seen: Seen) -> None:
    assert seen.problems() == []


def test_what_follows_from_another_problem_is_not_told_twice() -> None:
    children = (replace(CHILD, state="down"),)
    assert Seen(peers=(replace(PEER, state="down", children=children),)).problems() == ["peer dc is down"]
    pim = PimStatus(running=True, problem="no such device")
    assert Seen(tunnels=(replace(TUNNEL, state="down", pim=pim),)).problems() == ["tunnel gre1 is down"]


def test_the_summary_is_the_problems_or_what_is_up() -> None:
    assert health.summary(("peer dc is down", "tunnel gre1 is down"), (PEER,), (TUNNEL,), ()) == (
        "peer dc is down; tunnel gre1 is down"
    )
    assert health.summary((), (PEER,), (TUNNEL,), (GROUP, GROUP)) == "up: 1 peer(s), 1 tunnel(s), 2 join(s)"
