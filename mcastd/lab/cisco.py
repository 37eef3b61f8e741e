"""The other side's GRE keepalives, as a Cisco has them: it asks every period, and after three unanswered its tunnel's
line protocol is down until the next answer. It goes on asking meanwhile, and answers what it is asked.

Run as a process in the data centre's namespace. SIGUSR1 is ``shutdown`` and ``no shutdown``: up, nothing missed. The
first one is waited for before anything is asked. SIGUSR2 makes it answer no more, and the next one answer again.
Scapy makes and reads the packets, so that mcastd's own codec is not its own judge.
"""

import argparse
import json
import select
import signal
import socket
import subprocess
import time
from ipaddress import IPv4Address
from pathlib import Path

from scapy.layers.inet import IP
from scapy.layers.l2 import GRE

from mcastd.net import bpf
from mcastd.net.ipv4 import INTERNETWORK_CONTROL
from mcastd.system import files, sockets

_RETRIES = 3
_TTL = 255
_PROTOCOL_KEEPALIVE = 0


def request(local: str, remote: str) -> bytes:
    """What goes behind the outer IP header: GRE, and in it the answer that the far end is to send on."""
    answer = IP(src=remote, dst=local, proto=socket.IPPROTO_GRE, ttl=_TTL, tos=INTERNETWORK_CONTROL)
    return bytes(GRE(proto=0x0800) / answer / GRE(proto=_PROTOCOL_KEEPALIVE))


def is_answer(packet: bytes, local: str, remote: str) -> bool:
    """Whether a packet, outer IP header first, is the answer to a request of ours."""
    ip = IP(packet)
    return bool(ip.src == remote and ip.dst == local and GRE in ip and ip[GRE].proto == _PROTOCOL_KEEPALIVE)


def answer(packet: bytes, local: str, remote: str) -> bytes | None:
    """What to send, behind the outer IP header, for a packet that asks for an answer; None if it does not."""
    ip = IP(packet)
    if ip.src != remote or ip.dst != local or GRE not in ip or IP not in ip[GRE]:
        return None
    inner = ip[GRE][IP]
    if inner.src != local or GRE not in inner or inner[GRE].proto != _PROTOCOL_KEEPALIVE:
        return None
    return bytes(inner.payload)


class Line:
    """The line protocol of a tunnel interface, and the file that tells about it."""

    def __init__(self, interface: str, report: Path) -> None:
        self._interface, self._report = interface, report
        self.sent = self.answered = self.missed = self.downs = self.asked_of_us = 0
        self.up = self.answering = True
        self.rtt: float | None = None

    def reset(self) -> None:
        """``shutdown``, ``no shutdown``."""
        self.missed = 0
        self._set(up=True)

    def asked(self) -> None:
        """A request goes out; the ones before it that were not answered count."""
        if self.missed >= _RETRIES:
            self._set(up=False)
        self.sent += 1
        self.missed += 1
        self.publish()

    def heard(self, rtt: float) -> None:
        """An answer came, ``rtt`` seconds after the last request."""
        self.answered += 1
        self.missed = 0
        self.rtt = rtt
        self._set(up=True)
        self.publish()

    def was_asked(self) -> bool:
        """The far end asks; whether that is to be answered."""
        self.asked_of_us += 1
        self.publish()
        return self.answering

    def toggle_answering(self) -> None:
        """Answer no more, or again."""
        self.answering = not self.answering

    def _set(self, *, up: bool) -> None:
        if up != self.up:
            state = "up" if up else "down"
            subprocess.run(["ip", "link", "set", self._interface, state], check=True)
            print(f"line protocol on {self._interface} is {state}", flush=True)
            self.downs += not up
            self.up = up

    def publish(self) -> None:
        """Write the file, all at once."""
        line = "up" if self.up else "down"
        report = {"sent": self.sent, "answered": self.answered, "line_protocol": line, "downs": self.downs}
        files.replace(self._report, json.dumps(report | {"rtt": self.rtt, "asked_of_us": self.asked_of_us}).encode())


def ask(line: Line, sock: socket.socket, local: str, remote: str, period: float) -> None:
    """Send a request every ``period`` seconds, take the answers, and answer the far end's requests, for ever."""
    packet = request(local, remote)
    due = time.monotonic()
    while True:
        asked = time.monotonic()
        line.asked()
        try:
            sock.send(packet)
        except OSError as error:
            print(f"keepalive not sent: {error.strerror}", flush=True)
        due = max(due + period, asked)
        while (left := due - time.monotonic()) > 0:
            if select.select([sock], [], [], left)[0]:
                try:
                    heard = sock.recv(2048)
                    if is_answer(heard, local, remote):
                        line.heard(time.monotonic() - asked)
                    elif (reply := answer(heard, local, remote)) is not None and line.was_asked():
                        sock.send(reply)
                except OSError:
                    continue


def main() -> None:
    """Read the command line and ask."""
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
    signal.signal(signal.SIGUSR2, lambda _number, _frame: line.toggle_answering())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    ask(line, sock, args.local, args.remote, args.period)


if __name__ == "__main__":
    main()
