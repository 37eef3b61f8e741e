"""The other side's GRE keepalives, with the behaviour of a Cisco.

It sends a request every period. After three without a reply the line protocol of its tunnel is down until the next
reply; requests continue meanwhile. It replies to the requests of the VM.

Run as a process in the data centre's namespace. SIGUSR1 acts as ``shutdown`` and ``no shutdown``: the line protocol is
up and no reply missed; before the first SIGUSR1 nothing is sent. SIGUSR2 stops and starts replying. The packets are
built and parsed here and not by mcastd's codec, which is so tested against another implementation.
"""

import argparse
import json
import select
import signal
import socket
import struct
import subprocess
import time
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple

from mcastd.net import bpf
from mcastd.net.ipv4 import INTERNETWORK_CONTROL
from mcastd.system import files, sockets

_RETRIES = 3
_TTL = 255
_PROTOCOL_KEEPALIVE, _PROTOCOL_IP = 0, 0x0800
_IP = struct.Struct("!BBHHHBBH4s4s")
_GRE = struct.Struct("!HH")  # flags and version, protocol
_FIELDS = (0x8000, 0x2000, 0x1000)  # the flags for a checksum, a key and a sequence number, of 4 bytes each


class Gre(NamedTuple):
    """A GRE packet, and the IP header that it was in."""

    source: str
    destination: str
    protocol: int
    payload: bytes


def request(local: str, remote: str) -> bytes:
    """A request without its outer IP header: GRE, and in it the reply that the other side has to send back."""
    ends = socket.inet_aton(remote), socket.inet_aton(local)
    head = (0x45, INTERNETWORK_CONTROL, _IP.size + _GRE.size, 1, 0, _TTL, socket.IPPROTO_GRE)
    total = sum(struct.unpack("!10H", _IP.pack(*head, 0, *ends)))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return _GRE.pack(0, _PROTOCOL_IP) + _IP.pack(*head, checksum, *ends) + _GRE.pack(0, _PROTOCOL_KEEPALIVE)


def is_reply(packet: bytes, local: str, remote: str) -> bool:
    """Whether a packet (with its outer IP header) is the reply to a request of this side."""
    found = _parse(packet)
    return found is not None and found[:3] == (remote, local, _PROTOCOL_KEEPALIVE)


def reply_to(packet: bytes, local: str, remote: str) -> bytes | None:
    """The reply to a packet, without its outer IP header; None if the packet is not a request."""
    outer = _parse(packet)
    if outer is None or outer[:3] != (remote, local, _PROTOCOL_IP):
        return None
    inner = _parse(outer.payload)
    if inner is None or (inner.source, inner.protocol) != (local, _PROTOCOL_KEEPALIVE):
        return None
    return _carried(outer.payload)


def _carried(packet: bytes) -> bytes:
    """What is behind an IP header."""
    return packet[(packet[0] & 15) * 4 : int.from_bytes(packet[2:4], "big")]


def _parse(packet: bytes) -> Gre | None:
    """The GRE in an IP packet, if there is any."""
    if len(packet) < _IP.size or packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_GRE:
        return None
    gre = _carried(packet)
    if len(gre) < _GRE.size:
        return None
    flags, protocol = _GRE.unpack_from(gre)
    size = _GRE.size + sum(4 for flag in _FIELDS if flags & flag)
    return Gre(socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20]), protocol, gre[size:])


class Line:
    """The line protocol of a tunnel interface; its state is written to the file ``report``."""

    def __init__(self, interface: str, report: Path) -> None:
        self._interface, self._report = interface, report
        # Requests sent; replies received; requests since the last reply; times that the line went down; requests
        # received from the VM.
        self.sent = self.answered = self.missed = self.downs = self.requests_received = 0
        self.up = self.replying = True  # the line protocol; whether requests of the VM are replied to
        self.rtt: float | None = None  # of the last reply, in seconds

    def reset(self) -> None:
        """``shutdown``, ``no shutdown``."""
        self.missed = 0
        self._set(up=True)

    def request_sent(self) -> None:
        """Count a request that is sent; the line goes down if the last three have no reply."""
        if self.missed >= _RETRIES:
            self._set(up=False)
        self.sent += 1
        self.missed += 1
        self.publish()

    def reply_received(self, rtt: float) -> None:
        """Count a reply, received ``rtt`` seconds after the last request."""
        self.answered += 1
        self.missed = 0
        self.rtt = rtt
        self._set(up=True)
        self.publish()

    def request_received(self) -> bool:
        """Count a request of the VM; returns whether to reply."""
        self.requests_received += 1
        self.publish()
        return self.replying

    def toggle_replies(self) -> None:
        """Stop or start replying to the VM's requests."""
        self.replying = not self.replying

    def _set(self, *, up: bool) -> None:
        if up != self.up:
            state = "up" if up else "down"
            subprocess.run(["ip", "link", "set", self._interface, state], check=True)
            print(f"line protocol on {self._interface} is {state}", flush=True)
            self.downs += not up
            self.up = up

    def publish(self) -> None:
        """Write the report file atomically."""
        line = "up" if self.up else "down"
        report = {"sent": self.sent, "answered": self.answered, "line_protocol": line, "downs": self.downs}
        files.replace(
            self._report, json.dumps(report | {"rtt": self.rtt, "requests_received": self.requests_received}).encode()
        )


def run(line: Line, sock: socket.socket, local: str, remote: str, period: float) -> None:
    """Send a request every ``period`` seconds, count replies, and reply to requests; does not return."""
    asking = request(local, remote)
    due = time.monotonic()
    while True:
        sent_at = time.monotonic()
        line.request_sent()
        try:
            sock.send(asking)
        except OSError as error:
            print(f"keepalive not sent: {error.strerror}", flush=True)
        due = max(due + period, sent_at)
        while (left := due - time.monotonic()) > 0:
            if select.select([sock], [], [], left)[0]:
                try:
                    packet = sock.recv(2048)
                    if is_reply(packet, local, remote):
                        line.reply_received(time.monotonic() - sent_at)
                    elif (reply := reply_to(packet, local, remote)) is not None and line.request_received():
                        sock.send(reply)
                except OSError:
                    continue


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m mcastd.lab.cisco", description=__doc__)
    parser.add_argument("interface")
    parser.add_argument("local")
    parser.add_argument("remote")
    parser.add_argument("--period", type=float, default=10.0, help="seconds")
    parser.add_argument("--report", type=Path, required=True)
    args = parser.parse_args()
    ends = IPv4Address(args.local), IPv4Address(args.remote)
    sock = sockets.raw_gre(*ends, _TTL, bpf.accept_gre_keepalives())
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, INTERNETWORK_CONTROL)
    line = Line(args.interface, args.report)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    line.publish()
    signal.sigwait({signal.SIGUSR1})
    signal.signal(signal.SIGUSR1, lambda _number, _frame: line.reset())
    signal.signal(signal.SIGUSR2, lambda _number, _frame: line.toggle_replies())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    run(line, sock, args.local, args.remote, args.period)


if __name__ == "__main__":
    main()
