"""The commands of a receiver: what they are, and what a machine receives on which they were run."""

import socket
import subprocess
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network

import pytest

from mcastd.links import Vxlan
from mcastd.system import membership_socket, vxlan
from mcastd.system.netlink import Netlink
from mcastd.tools.receive.commands import Receiver, script
from tests.namespaces import DEADLINE, Namespace, join

HEAD, SECOND, OUTSIDER, OWN = (IPv4Address(f"10.0.0.{number}") for number in (1, 2, 66, 50))
GROUP, SOURCE, PORT = IPv4Address("239.1.1.1"), IPv4Address("100.15.30.10"), 5001
RECEIVER = Receiver("vx0", 7, 4789, (HEAD,), "10.20.0.50/24", str(OWN), (IPv4Network("239.1.0.0/16"),))


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(("ip ", "bridge ", "sysctl "))]


def test_it_takes_three_commands_of_ip() -> None:
    assert lines(script(RECEIVER))[:4] == [
        "ip link add vx0 type vxlan id 7 dstport 4789 remote 10.0.0.1 local 10.0.0.50",
        "ip address add 10.20.0.50/24 dev vx0",
        "ip link set vx0 up",
        "sysctl -q -w net.ipv4.conf.vx0.rp_filter=2",
    ]
    assert "# ip route add 239.1.0.0/16 dev vx0\n" in script(RECEIVER)


def test_nothing_arrives_before_it_is_filtered() -> None:
    text = script(RECEIVER)
    assert text.index("drop") < text.index("ip link add")


def test_without_addresses_the_kernel_and_the_reader_choose_them() -> None:
    text = script(Receiver("vx0", 7, 4789, (HEAD,), "<ADDRESS>/24"))
    assert lines(text)[0] == "ip link add vx0 type vxlan id 7 dstport 4789 remote 10.0.0.1"
    assert "ip address add <ADDRESS>/24 dev vx0\n" in text
    assert "# ip route add 224.0.0.0/4 dev vx0\n" in text


def test_of_two_head_ends_both_are_told_and_both_are_let_in() -> None:
    text = script(Receiver("vx0", 7, 4789, (HEAD, SECOND), "10.20.0.50/24"))
    assert lines(text)[0].endswith("remote 10.0.0.1")
    assert lines(text)[3] == "bridge fdb append 00:00:00:00:00:00 dev vx0 dst 10.0.0.2"
    assert "ip saddr != { 10.0.0.1, 10.0.0.2 } drop\n" in text


def frame(source: IPv4Address, payload: bytes, port: int = PORT) -> bytes:
    """A datagram of the group in Ethernet and VXLAN."""
    udp = port.to_bytes(2, "big") * 2 + (8 + len(payload)).to_bytes(2, "big") + bytes(2) + payload
    total = (20 + len(udp)).to_bytes(2, "big")
    header = b"\x45\0" + total + b"\0\0\0\0\x08\x11\0\0" + source.packed + GROUP.packed
    words = sum(int.from_bytes(header[at : at + 2], "big") for at in range(0, 20, 2))
    checksum = (~((words & 0xFFFF) + (words >> 16)) & 0xFFFF).to_bytes(2, "big")
    mac = bytes.fromhex("01005e01010102feedbeef020800")
    return b"\x08\0\0\0\0\0\x07\0" + mac + header[:10] + checksum + header[12:] + udp


@pytest.mark.root
def test_what_is_printed_receives_and_a_outsider_is_not_heard(namespace: Callable[[], Namespace]) -> None:
    """Reverse path filtering is strict, and the source is not behind the overlay."""
    head, own = namespace(), namespace()
    join(head, f"{HEAD}/24", own, f"{OWN}/24")
    head.batch(f"addr add {OUTSIDER}/24 dev veth0")
    for name in ("all", "default", "veth0"):
        own.execute(f"sysctl -qw net.ipv4.conf.{name}.rp_filter=1")
    own.ip("route", "add", "default", "via", str(HEAD))
    printed = ["ip", "netns", "exec", own.name, "sh", "-ec", script(RECEIVER)]
    subprocess.run(printed, check=True)

    def application() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((str(GROUP), PORT))
        sock.settimeout(DEADLINE)
        membership_socket.join(sock, socket.if_nametoindex("vx0"), GROUP)
        return sock

    def say(text: bytes, endpoint: IPv4Address) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((str(endpoint), 0))
            sock.sendto(frame(SOURCE, text), (str(OWN), 4789))

    async def main() -> None:
        async with Netlink() as netlink:
            await netlink.add_link("vx0", Vxlan(7, HEAD))
            link = await netlink.link("vx0")
            assert link is not None
            head.batch("link set vx0 addrgenmode none up")
            sock = own.call(application)
            learned: list[IPv4Address] = []
            while OWN not in learned:  # the report of the join has come
                learned = [entry.endpoint for entry in await vxlan.forwarding(link.index) if entry.learned]
            say(b"outsider", OUTSIDER)
            say(b"feed", HEAD)
            assert sock.recv(100) == b"feed"
            own.execute("nft delete table ip vx0")  # with the protection off
            say(b"outsider", OUTSIDER)
            assert sock.recv(100) == b"outsider"
            sock.close()

    head.run(main)
