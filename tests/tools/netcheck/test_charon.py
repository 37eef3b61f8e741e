"""The whole command against a real charon behind a real NAT, and beside a metadata service."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.ipsec.charons import CLOUD, DC, Charon, article, load, mirrored
from tests.namespaces import Namespace, join

pytestmark = pytest.mark.root

LOCAL = "10.1.1.246"
NAT = """
table ip nat {
  chain out { type nat hook postrouting priority srcnat; oifname "veth1" masquerade; }
}
table ip filter {
  chain pass { type filter hook forward priority filter; }
}
"""


class Way:
    """The machine, a router that translates its address, and the peer's charon."""

    def __init__(self, namespace: Callable[[], Namespace], folder: Path) -> None:
        self.machine, self.router, self.peer = namespace(), namespace(), namespace()
        join(self.machine, f"{LOCAL}/24", self.router, "10.1.1.1/24")
        self.machine.ip("route", "add", "default", "via", "10.1.1.1")
        self.router.ip("link", "add", "veth1", "type", "veth", "peer", "name", "veth0", "netns", self.peer.name)
        for side, name, address in ((self.router, "veth1", CLOUD), (self.peer, "veth0", DC)):
            side.batch(f"addr add {address}/32 dev {name}", f"link set {name} up")
        self.router.ip("route", "add", DC, "dev", "veth1")
        self.peer.ip("route", "add", CLOUD, "dev", "veth0")
        self.router.execute("sysctl -qw net.ipv4.ip_forward=1")
        self.nft(NAT)
        self.charon = Charon(folder, self.peer.name)

    def nft(self, rules: str) -> None:
        inside = ["ip", "netns", "exec", self.router.name, "nft", "-f", "-"]
        subprocess.run(inside, input=rules, text=True, check=True)

    def check(self, *more: str) -> tuple[int, dict[str, dict[str, str]]]:
        """The exit code, and the findings by code."""
        argv = ["-m", "mcastd", "netcheck", DC, "--json", "-c", "/nonexistent", *more]
        inside = ["ip", "netns", "exec", self.machine.name, sys.executable, *argv]
        done = subprocess.run(inside, capture_output=True, text=True, check=False)
        assert done.stdout, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        assert (report["schema"], report["peer"]) == (1, DC)
        return done.returncode, {one["code"]: one for one in report["findings"]}


@pytest.fixture
def way(namespace: Callable[[], Namespace], tmp_path: Path) -> Iterator[Way]:
    found = Way(namespace, tmp_path)
    found.charon.start()
    try:
        found.charon.wait_ready()
        yield found
    finally:
        found.charon.stop()


METADATA = {
    "/latest/meta-data/instance-type": "c6in.large",
    "/latest/meta-data/placement/availability-zone": "us-east-1a",
    "/latest/meta-data/public-ipv4": CLOUD,
}


class Metadata(BaseHTTPRequestHandler):
    """EC2's, version 2."""

    def do_PUT(self) -> None:
        self._answer("token")

    def do_GET(self) -> None:
        self._answer(METADATA[self.path] if self.headers["X-aws-ec2-metadata-token"] == "token" else "")

    def _answer(self, text: str) -> None:
        self.send_response(200 if text else 401)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_nat_is_found_and_the_public_address_confirmed(way: Way) -> None:
    way.router.ip("link", "set", "veth1", "mtu", "1400")
    code, refused = way.check()
    assert (code, refused["port_answers"]["level"]) == (0, "ok")
    assert "NO_PROPOSAL_CHOSEN" in refused["port_answers"]["text"]  # it knows no peer with our address
    assert refused["nat_unknown"]["level"] == "unknown"
    asyncio.run(load(way.charon, mirrored(article())))
    with ExitStack() as stack:
        way.machine.ip("addr", "add", "169.254.169.254/32", "dev", "lo")
        server = way.machine.call(lambda: HTTPServer(("169.254.169.254", 80), Metadata))
        stack.callback(server.server_close)
        thread = Thread(target=server.serve_forever)
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        code, report = way.check("--public", "203.0.113.9")
    assert code == 0, report
    assert f"the peer sees {CLOUD} (EC2 metadata)" in report["nat_confirmed"]["text"]
    assert "c6in.large in us-east-1a" in report["ec2"]["text"]
    assert "packets of 1400 bytes get to the peer, of 1436 not" in report["mtu"]["text"]
    assert "or forces ESP into UDP" in report["nat_there"]["text"]  # as encap does, by a false hash


def test_a_port_that_is_blocked_and_a_peer_that_is_not_there(way: Way) -> None:
    way.nft("table ip filter { chain pass { type filter hook forward priority filter; udp dport 4500 drop; }; }")
    code, report = way.check()
    assert (code, report["port_blocked"]["level"]) == (1, "broken")
    way.charon.stop()
    way.nft("flush ruleset")
    way.nft(NAT)
    code, report = way.check()
    assert (code, report["port_refused"]["level"]) == (1, "broken")
