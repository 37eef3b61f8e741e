from ipaddress import IPv4Address
from typing import Any

import pytest

from mcastd.tools.netcheck.packet import Answer, Ends, nat_hash
from mcastd.tools.netcheck.report import Cloud, Finding, Machine, Observed, PathMtu, PortCheck, findings

LOCAL, PEER, PUBLIC, OTHER = map(IPv4Address, ("10.1.1.246", "177.54.214.20", "222.45.67.1", "203.0.113.9"))
SPI_I, SPI_R = b"\1" * 8, b"\2" * 8


def ends(port: int, own: int | None = None) -> Ends:
    return Ends(LOCAL, own or port, PEER, port)


def answered(seen: IPv4Address, port: int = 500, *, seen_port: int = 500, peer: IPv4Address = PEER) -> PortCheck:
    """An answer of a peer that sees this address and port."""
    there, here = ((nat_hash(SPI_I, SPI_R, *end),) for end in ((peer, port), (seen, seen_port)))
    answer = Answer(SPI_I, SPI_R, accepted=True, source_hashes=there, destination_hashes=here)
    return PortCheck(ends(port), answer, 0.0123)


def refused(port: int) -> PortCheck:
    answer = Answer(SPI_I, bytes(8), accepted=False, errors=("NO_PROPOSAL_CHOSEN",))
    return PortCheck(ends(port), answer, 0.01)


def found(*ports: PortCheck, candidates: dict[IPv4Address, str] | None = None, **more: Any) -> dict[str, Finding]:
    fields: dict[str, Any] = {"mtu": None, "machine": Machine(), **more}
    report = findings(Observed(PEER, ports, candidates=candidates or {}, **fields))
    assert all(one.text for one in report)
    return {one.code: one for one in report}


def test_an_open_path_without_nat() -> None:
    report = found(answered(LOCAL), answered(LOCAL, 4500, seen_port=4500), mtu=PathMtu(1500))
    assert {one.level for one in report.values()} == {"ok"}
    assert report["nat_none"].text == "no NAT: the peer sees 10.1.1.246"
    assert "packets of 1500 bytes get to the peer: a tunnel has an MTU of 1398" in report["mtu"].text


@pytest.mark.parametrize("seen_port", [500, 1024, 65535])
def test_a_candidate_is_confirmed_whatever_port_the_nat_has_chosen(seen_port: int) -> None:
    report = found(answered(PUBLIC, seen_port=seen_port), candidates={OTHER: "local_id", PUBLIC: "--public"})
    assert report["nat_confirmed"].level == "ok"
    assert "the peer sees 222.45.67.1 (--public)" in report["nat_confirmed"].text
    assert 'local_id = "222.45.67.1", local = "10.1.1.246"' in report["nat_confirmed"].text
    assert ("port 1024" in report["nat_confirmed"].text) == (seen_port == 1024)


def test_a_candidate_that_is_another_machines_is_not_confirmed() -> None:
    report = found(answered(PUBLIC), candidates={OTHER: "local_id"})
    assert report["nat_unconfirmed"].level == "unknown"
    assert "it is none of 203.0.113.9 (local_id)" in report["nat_unconfirmed"].text
    assert "name the address with --public" in found(answered(PUBLIC))["nat_unconfirmed"].text


def test_a_peer_behind_a_nat_of_its_own() -> None:
    assert found(answered(LOCAL, peer=OTHER))["nat_there"].level == "note"
    assert "nat_there" not in found(answered(LOCAL))


def test_a_refusal_is_an_answer_that_says_nothing_of_nat() -> None:
    report = found(refused(500), refused(4500))
    assert report["port_answers"].level == "ok"
    assert report["port_answers"].text.endswith("NO_PROPOSAL_CHOSEN")
    assert report["nat_unknown"].level == "unknown"


def test_silence_is_not_called_blocked_unless_the_other_port_answers() -> None:
    silent = found(PortCheck(ends(500)), PortCheck(ends(4500)))
    assert silent["port_silent"].level == "unknown"
    assert "blocked on the way, or the peer ignores unknown senders" in silent["port_silent"].text
    assert "port_blocked" not in silent
    blocked = found(refused(500), PortCheck(ends(4500)))["port_blocked"]
    assert (blocked.level, blocked.text) == ("broken", "UDP 4500 is blocked on the way: the peer answers on 500")


def test_errors_of_the_network() -> None:
    assert found(PortCheck(ends(500), error="ECONNREFUSED"))["port_refused"].level == "broken"
    assert "EHOSTUNREACH" in found(PortCheck(ends(500), error="EHOSTUNREACH"))["port_error"].text


def test_another_source_port_is_said() -> None:
    assert (
        "asked from port 40000: 500 is another program's here" in found(PortCheck(ends(500, 40000)))["port_silent"].text
    )


def test_a_smaller_path_mtu() -> None:
    report = found(answered(LOCAL), mtu=PathMtu(1400, 1436))
    assert report["mtu"].level == "note"
    assert "packets of 1400 bytes get to the peer, of 1436 not: a tunnel has an MTU of 1302" in report["mtu"].text
    assert found(refused(500), mtu=PathMtu(None, 1300))["mtu_unknown"].level == "unknown"


def test_what_this_machine_lacks_and_who_filters_here() -> None:
    assert found(refused(500), machine=Machine(("esp4", "ip_gre")))["userspace"].level == "note"
    chain = "table inet filter, chain input, policy drop"
    machine = Machine(("ip_gre", "nft"), (chain,), Cloud("c6in.large", "us-east-1a"))
    report = found(refused(500), machine=machine)
    assert report["kernel_lacks"].text == "this machine has no ip_gre, nft"
    assert report["firewall"].text.startswith("table inet filter, chain input, policy drop: UDP 500 and 4500")
    assert "c6in.large in us-east-1a" in report["ec2"].text
    assert "177.54.214.20/32" in report["ec2"].text


def test_a_peer_that_is_not_ike() -> None:
    report = found(PortCheck(ends(500), foreign=True), PortCheck(ends(4500), foreign=True))
    assert report["port_foreign"].level == "unknown"
    assert "is no answer of IKE version 2" in report["port_foreign"].text
    assert "port_silent" not in report


def test_what_is_foreign_on_one_port_does_not_say_that_it_is_blocked() -> None:
    assert "port_blocked" not in found(refused(500), PortCheck(ends(4500), foreign=True))


def test_an_error_while_sizes_are_tried() -> None:
    finding = found(refused(500), mtu=PathMtu(None, 1400, error="ECONNREFUSED"))["mtu_unknown"]
    assert (finding.level, finding.text) == (
        "unknown",
        "the path's MTU is not known: ECONNREFUSED after a request of 1400 bytes",
    )
