"""What the other side's routers do, and what a hostile one can send."""

from functools import partial

from mcastd.lab.charon import start_charon, wait_for_charons
from mcastd.lab.topology import DC, TUNNEL
from tests.faults.fault import Fault, Group
from tests.faults.lab import Lab
from tests.faults.path import ARRIVAL
from tests.faults.steps import both, kill, process

_far = partial(Fault, group=Group.FAR)

# PIM messages with a right checksum: Hellos of forged neighbours, Join/Prunes, Bootstrap messages, and random bytes.
_FLOOD = """
import os, random, socket, struct, time
sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"DEVICE")
def checksum(data):
    data += b"\\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def pim(kind, body):
    total = checksum(bytes([0x20 | kind, 0, 0, 0]) + body)
    return struct.pack("!BBH", 0x20 | kind, 0, total) + body
bodies = [
    (0, bytes.fromhex("000100020069") + bytes.fromhex("00140004") + os.urandom(4)),
    (3, bytes.fromhex("01000a2c0406000100d2") + os.urandom(20)),
    (4, os.urandom(30)),
    (8, os.urandom(16)),
]
print("sending")
began, sent = time.monotonic(), 0
while True:
    due = int((time.monotonic() - began) * 100000 / 60)
    while sent < due:
        packet = pim(*bodies[sent % len(bodies)])
        forged = bytes([10, 44, random.randrange(256), random.randrange(1, 255)])
        source = bytes([10, 44, 4, 5]) if sent % 3 == 0 else forged
        head = struct.pack("!BBHHHBBH", 0x45, 0xc0, 20 + len(packet), 0, 0, 1, 103, 0) + source + bytes([224, 0, 0, 13])
        sock.sendto(head + packet, ("224.0.0.13", 0))
        sent += 1
    time.sleep(0.005)
""".replace("DEVICE", TUNNEL)


def _both_back(lab: Lab) -> None:
    start_charon(lab.scene, DC)
    wait_for_charons(lab.scene)
    lab.scene.dc.load()
    lab.scene.dc.start_pimd()


FAULTS = (
    _far(
        name="far-mroute-cleared",
        what="FRR's `clear ip mroute`: the router forgets the joins, and keeps its Generation ID",
        inject=lambda lab: lab.scene.dc.frr("clear ip mroute"),
        lost=4.5,
        health=("ok", "degraded", "down"),
    ),
    _far(
        name="far-pimd-restarted",
        what="the other side's PIM daemon is restarted, with a new Generation ID",
        inject=both(kill("pimd"), lambda lab: lab.scene.dc.start_pimd()),
        lasts=12.0,
        lost=10.0,
        health=("ok", "degraded", "down"),
    ),
    _far(
        name="far-both-dead",
        what="the other side's charon and PIM daemon are killed, and started again",
        inject=both(kill(f"charon-{DC}"), kill("pimd")),
        undo=_both_back,
        lost=None,
        codes=ARRIVAL,
        health=("degraded", "down"),
        recovery=20.0,
    ),
    _far(
        name="pim-flood",
        what="100,000 PIM messages a minute arrive on the tunnel, most of them forged",
        inject=process(DC, _FLOOD),
        lasts=15.0,
        lost=0.2,
    ),
)
