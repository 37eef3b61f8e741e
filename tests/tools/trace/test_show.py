"""Which packets of a capture are shown."""

from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv4Address

from scapy.layers.inet import IP, UDP

from mcastd.tools.trace.capture import Captured
from mcastd.tools.trace.decode import Meaning
from mcastd.tools.trace.scope import Scope
from mcastd.tools.trace.show import trace

PEER = "177.54.214.20"
SCOPE = Scope(frozenset({"gre1"}), frozenset({IPv4Address(PEER).packed}), frozenset())


def shown(packets: Iterable[IP], scope: Scope = SCOPE, interface: str = "eth0") -> list[str]:
    found: list[str] = []

    def take(_: Captured, meaning: Meaning) -> None:
        found.append(meaning.text)

    captured = [Captured(0, interface, outgoing=False, data=bytes(packet)) for packet in packets]
    trace(captured, scope, None, Counter(), take)
    return found


def test_a_later_fragment_is_shown_where_the_first_one_was() -> None:
    head = bytes(16) + bytes([46, 0x20, 35, 8]) + bytes(6) + (1800).to_bytes(2, "big")
    ike = IP(src=PEER, dst="10.1.1.246", id=7) / UDP(sport=4500, dport=4500) / (bytes(4) + head + bytes(1772))
    esp = IP(src=PEER, dst="10.1.1.246", id=8) / UDP(sport=4500, dport=4500) / (b"\1" * 1800)
    first, last = ike.fragment(1480)  # type: ignore[no-untyped-call]
    *_, other = esp.fragment(1480)  # type: ignore[no-untyped-call]
    lines = shown([last, first, other, last])
    assert [line.rpartition(": ")[2] for line in lines] == [
        "first fragment of IP packet 7, bytes 0 to 1479",
        "last fragment of IP packet 7, bytes 1480 to 1811",
    ]
