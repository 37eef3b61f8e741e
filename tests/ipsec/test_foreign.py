"""Which connections and SAs of other programs count as having the traffic selectors of ours."""

from typing import Any

import pytest

from mcastd.ipsec import foreign
from mcastd.ipsec.sas import ChildSa, IkeSa
from tests.ipsec.charons import CLOUD, DC, article, gre

PEER = article()
GRE_TS = ("10.44.6.1/32", "10.44.7.1/32")


def connection(local: str, remote: str, **changes: Any) -> dict[str, Any]:
    """A connection as ``list-conns`` has it."""
    children = {"x": {"mode": "TUNNEL", "local-ts": [local], "remote-ts": [remote]}}
    ends = {"local_addrs": [CLOUD], "remote_addrs": [DC], "remote-1": {"id": DC}}
    return {**ends, "children": children, **changes}


def found(connections: dict[str, Any], *sas: IkeSa, peer: Any = PEER) -> list[tuple[str, str]]:
    return [(one.code, one.subject) for one in foreign.problems([peer], connections, sas)]


def sa(local: str, remote: str, name: str = "theirs", state: str = "INSTALLED", if_id: str | None = None) -> IkeSa:
    child = ChildSa(name="x", state=state, local_ts=(local,), remote_ts=(remote,), if_id_in=if_id)
    return IkeSa(name=name, state="ESTABLISHED", child_sas={"x-1": child})


@pytest.mark.parametrize(
    "selectors",
    [GRE_TS, ("10.44.6.1/32[gre]", "10.44.7.1/32[gre]"), ("10.45.8.17/32[tcp/http]", "100.15.30.7/32")],
)
def test_the_same_selectors_and_parts_of_them_are_named(selectors: tuple[str, str]) -> None:
    child = "dc-tun-gre" if selectors[0].startswith("10.44") else "dc-tun-tcp"
    assert found({"theirs": connection(*selectors)}) == [("foreign_connection", child)]
    assert found({}, sa(*selectors)) == [("foreign_sa", child)]


def test_a_connection_to_the_peer_s_identity_is_one_to_the_peer() -> None:
    assert found({"theirs": connection(*GRE_TS, remote_addrs=["%any"])}) == [("foreign_connection", "dc-tun-gre")]
    elsewhere = connection(*GRE_TS) | {"remote_addrs": ["192.0.2.1"], "remote-1": {"id": "192.0.2.1"}}
    assert found({"theirs": elsewhere}) == []


def test_in_transport_mode_the_selectors_are_the_ends() -> None:
    ends = {"local_ts": f"{CLOUD}/32", "remote_ts": f"{DC}/32"}
    networks = {key: type(gre().local_ts)(value) for key, value in ends.items()}
    peer = article(children=(gre(mode="transport", protocol="gre", **networks),))
    assert found({"theirs": connection("dynamic[gre]", "dynamic[gre]")}, peer=peer) == [
        ("foreign_connection", "dc-tun-gre")
    ]
    assert found({"theirs": connection("dynamic[tcp]", "dynamic[tcp]")}, peer=peer) == []


@pytest.mark.parametrize(
    "selectors",
    [("10.44.6.1/32", "10.44.7.2/32"), ("0.0.0.0/0", "0.0.0.0/0"), ("10.44.6.1..10.44.6.9", "10.44.7.1/32")],
)
def test_others_are_not(selectors: tuple[str, str]) -> None:
    assert found({"theirs": connection(*selectors)}, sa(*selectors)) == []


def test_ours_and_those_of_an_interface_of_another_id_are_not() -> None:
    assert found({"dc": connection(*GRE_TS)}, sa(*GRE_TS, name="dc")) == []
    assert found({}, sa(*GRE_TS, state="DELETED"), sa(*GRE_TS, if_id="7")) == []
    on_interface = article(children=(gre(mode="interface", if_id=7),))
    assert found({"theirs": connection(*GRE_TS)}, sa(*GRE_TS, if_id="00000007"), peer=on_interface) == [
        ("foreign_sa", "dc-tun-gre")
    ]
