"""From an application's join to its first packet, and how long 1,000 of them take, in the lab.

Counted from the system call that joins; a stream of 1,000 packets a second runs. Every join is of another group, so
that none finds state of an earlier one in FRR. Once as this kernel has it, once by the kernel's IGMP reports alone.
"""

import socket
import struct
import sys
import time
from ipaddress import IPv4Address

from mcastd.lab.commands import python, wait_for
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLOUD, PORT, TUNNEL
from tests.bench.figures import say, say_all
from tests.lab.pim_scene import JOIN_PRUNE, PIM, Tap, inside, start

ROUNDS = 20
STORM = 1000
IP_MULTICAST_ALL = 49
TARGETS = {"netlink": 8.0, "reports": 20.0}
# Each socket takes 20 groups at most (igmp_max_memberships).
APPLICATIONS = f"""
import socket, struct, sys, time
index, first, count = socket.if_nametoindex("{TUNNEL}"), int(sys.argv[1]), int(sys.argv[2])
sockets = []
for number in range(count):
    if number % 20 == 0:
        sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sockets[-1].setsockopt(0, 35, struct.pack("!I4si", first + number, bytes(4), socket.htonl(index)))
time.sleep(600)
"""


def measure(scene: Scene, group: str) -> tuple[float, float]:
    """Milliseconds from the join to the Join on the wire, and to the first packet."""
    sender = scene.feed.send(group)
    try:
        wait_for("FRR's source", lambda: group in scene.dc.frr_json("show ip pim upstream"))

        def receive() -> tuple[float, float]:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(20.0)
                sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
                sock.bind((group, PORT))
                request = struct.pack("@4s4si", IPv4Address(group).packed, bytes(4), socket.if_nametoindex(TUNNEL))
                began = time.monotonic()
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
                sock.recv(2048)
                return began, time.monotonic()

        with Tap(scene, CLOUD, PIM) as tap:
            began, first = inside(scene.namespace(CLOUD), receive)
            joined = next(p.when for p in tap.joins() if group in {record.group for record in p.records()})
        return (joined - began) * 1000, (first - began) * 1000
    finally:
        scene.stop(sender)


def storm(scene: Scene, first: IPv4Address) -> tuple[float, float]:
    """Seconds from the start of the applications to the last Join, and from their end to the last Prune."""
    with Tap(scene, CLOUD, PIM) as tap:

        def last(kind: str) -> float | None:
            seen: dict[str, float] = {}
            for packet in tap.packets():
                for record in packet.records() if packet.outgoing and packet.pim_type == JOIN_PRUNE else ():
                    if first <= IPv4Address(record.group) < first + STORM and getattr(record, kind):
                        seen.setdefault(record.group, packet.when)
            return max(seen.values()) if len(seen) == STORM else None

        began = time.monotonic()
        process = scene.start(CLOUD, "applications", [sys.executable, "-c", APPLICATIONS, str(int(first)), str(STORM)])
        wait_for("the Joins", lambda: last("joined") is not None)
        ended = time.monotonic()
        scene.stop(process)
        wait_for("the Prunes", lambda: last("pruned") is not None)
        return (last("joined") or began) - began, (last("pruned") or ended) - ended


def main() -> None:
    """Measure and print."""
    for number, trigger in enumerate(TARGETS):
        with Scene(Options(prefix="mcastd-test-bench", follow=True)) as scene:
            if trigger == "netlink":
                start(scene)
            else:
                scene.start_daemon(python("tests.bench.by_reports", "run"))
                scene.wait_for_status("everything is up", lambda status: status.healthy)
            groups = [str(IPv4Address("239.4.0.0") + 256 * number + count) for count in range(1, ROUNDS + 1)]
            rounds = [measure(scene, group) for group in groups]
            say_all(f"an application's join to the Join on the wire, by {trigger}", [join for join, _ in rounds], "ms")
            packets = [first for _, first in rounds]
            say_all(f"an application's join to its first packet, by {trigger}", packets, "ms", TARGETS[trigger])
            joined, pruned = storm(scene, IPv4Address("239.8.0.0") + 65536 * number)
            say(f"{STORM} applications join, with their start: to the last Join, by {trigger}", joined, "s", 2.0)
            say(f"{STORM} applications end: to the last Prune, by {trigger}", pruned, "s", 2.0)


if __name__ == "__main__":
    main()
