"""What the doctor reads of the host, from a kernel that has it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from msgspec.structs import replace

from mcastd.config.model import Config
from mcastd.system.netlink import Netlink
from mcastd.tools.doctor import collect, firewall, proc
from mcastd.tools.doctor.facts import Facts, Multicast
from mcastd.tools.doctor.trace_firewall import table, tracing
from tests.namespaces import Namespace, join
from tests.tools.doctor import observed

pytestmark = pytest.mark.root

RULES = """
table inet closed { chain in { type filter hook input priority 0; policy drop; counter reject; }; }
table ip mcastd { chain in { type filter hook input priority 0; policy drop; }; }
"""


def test_the_rules_of_both_kinds_and_what_they_counted(
    namespace: Callable[[], Namespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "_PROC", Path("/proc/thread-self"))  # the thread is in the namespace
    host = namespace()
    assert host.call(collect._rules) == ()
    host.ip("link", "set", "lo", "up")
    host.call(lambda: subprocess.run(["nft", RULES], check=True))
    host.call(lambda: subprocess.run(["iptables-legacy", "-A", "OUTPUT", "-p", "udp", "-j", "DROP"], check=True))
    before = host.call(collect._rules)
    places = {(one.place, one.text, one.packets): one.hooks for one in before}
    assert places == {
        ("inet closed in", "", None): {"input"},
        ("inet closed in", "reject", 0): {"input"},
        ("legacy filter OUTPUT", "-p udp -j DROP", 0): {"output"},
    }

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, suppress(PermissionError):
            sock.sendto(b"x", ("127.0.0.1", 9))

    host.call(send)
    after = firewall.risen(before, host.call(collect._rules))
    assert [one.packets for one in after if one.hooks == {"output"}] == [1]


def test_no_rules_where_nft_fails_or_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nft").write_text("#!/bin/sh\necho table ip filter\nexit 1\n")
    (tmp_path / "nft").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert collect._listing("nft", "list", "ruleset") == ""
    assert collect._listing("no-such-program") == ""


def test_an_interface_that_goes_away_meanwhile_is_in_no_vrf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("red", "gone", "gre1", "gre2"):
        (tmp_path / name).mkdir()
    (tmp_path / "red" / "uevent").write_text("DEVTYPE=vrf\n")
    (tmp_path / "gre1" / "master").symlink_to(tmp_path / "gone")
    (tmp_path / "gre2" / "master").symlink_to(tmp_path / "red")
    monkeypatch.setattr(collect, "_INTERFACES", tmp_path)
    assert collect._vrfs() == {"gre2": "red"}


def test_charons_table_without_its_rule(namespace: Callable[[], Namespace]) -> None:
    host = namespace()

    async def missing() -> bool:
        async with Netlink() as netlink:
            return await collect._rule_220_missing(netlink)

    host.ip("rule", "add", "pref", "220", "table", "220")
    assert host.run(missing) is False
    host.ip("route", "add", "192.0.2.1", "dev", "lo", "proto", "static", "table", "220")
    assert host.run(missing) is False
    host.ip("rule", "del", "pref", "220")
    assert host.run(missing) is True


def test_each_address_with_its_interface(namespace: Callable[[], Namespace]) -> None:
    host = namespace()
    host.ip("address", "add", "192.0.2.1/32", "dev", "lo")

    async def addresses() -> dict[IPv4Address, str]:
        async with Netlink() as netlink:
            return await collect._addresses(netlink)

    assert host.run(addresses)[IPv4Address("192.0.2.1")] == "lo"


def test_the_process_of_a_udp_socket() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sockets = proc.udp_sockets(Path("/proc/net/udp").read_text())
        inode = os.fstat(sock.fileno()).st_ino
        assert inode in {one.inode for one in sockets}
        counted = proc.Proc(sockets=sockets)
        holders, stopped = collect._holders(counted, whole=True)
        assert f"(pid {os.getpid()})" in holders[inode]
        assert inode not in stopped
        assert inode not in collect._holders(counted, whole=False)[0]  # nothing waits in it


def test_a_socket_whose_process_is_stopped() -> None:
    code = "import os, signal, socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('127.0.0.1', 0)); "
    code += "s.sendto(b'x', s.getsockname()); print(os.fstat(s.fileno()).st_ino, flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            inode = int(process.stdout.readline())
            counted = proc.Proc(sockets=proc.udp_sockets(Path("/proc/net/udp").read_text()))
            assert inode not in collect._holders(counted, whole=False)[1]
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            holders, stopped = collect._holders(counted, whole=False)
            assert f"(pid {process.pid})" in holders[inode]
            assert inode in stopped
        finally:
            process.kill()


def test_a_trace_names_the_rule_that_drops_and_leaves_nothing(
    namespace: Callable[[], Namespace],
) -> None:
    host = namespace()
    host.ip("link", "set", "lo", "up")
    config = observed.config()
    peer, tunnel = config.peers[0], config.tunnels[0]
    for address in (peer.remote, tunnel.local):
        host.ip("address", "add", f"{address}/32", "dev", "lo")
    chain = "chain in { type filter hook input priority 0; udp dport 500 drop; }"
    host.call(lambda: subprocess.run(["nft", f"table inet another {{ {chain}; }}"], check=True))

    async def look() -> str:
        async with tracing(config) as trace:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind((str(peer.remote), 0))
                sock.sendto(b"x", (str(tunnel.local), 500))
            await asyncio.sleep(0.3)
        return trace.text

    text = host.run(look)
    found = firewall.traced(host.call(collect._rules), text)
    assert [one.text for one in found if one.traced] == ["udp dport 500 drop"], text
    tables = host.call(lambda: subprocess.run(["nft", "list", "tables"], check=True, capture_output=True))
    assert b"mcastd_doctor" not in tables.stdout


@pytest.mark.parametrize(
    ("state", "code", "waits"),
    [
        ("up", None, False),
        ("standby", None, False),
        ("connecting", None, True),
        ("waiting", "no_answer", True),
        ("waiting", "ike_not_sent", True),
        ("waiting", "peer_psk", False),
    ],
)
def test_for_whose_answer_to_ike_it_waits(state: str, code: str | None, waits: bool) -> None:
    assert collect._may_be_unanswered(observed.peer(state=state, problem_code=code)) is waits


def test_what_was_not_all_counted_is_not_exact() -> None:
    for one in (Multicast(capped=True), Multicast(fragments=1)):
        assert not collect._is_exact(one, Multicast())
    assert not collect._is_exact(Multicast(), Multicast(capped=True))
    assert collect._is_exact(Multicast(), Multicast())


def test_what_arrives_while_the_same_is_joined_is_counted_exactly(
    namespace: Callable[[], Namespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "WINDOW", 0.3)
    monkeypatch.setattr(collect, "_PROC", Path("/proc/thread-self"))  # the thread is in the namespace
    here, there = namespace(), namespace()
    join(here, "192.0.2.1/24", there, "192.0.2.2/24")
    config = observed.config()
    config = replace(config, tunnels=(replace(config.tunnels[0], name="veth0"),))

    async def look(group: str | None) -> Facts:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            if group is not None:
                asyncio.get_running_loop().call_later(0.1, membership, sock, group)
            return await collect._observe(Facts(config_file="f"), config, observed.status(), trace=False)

    assert here.run(lambda: look(None)).tunnels["veth0"].exact
    assert not here.run(lambda: look("239.1.1.1")).tunnels["veth0"].exact


def membership(sock: socket.socket, group: str) -> None:
    sock.setsockopt(
        socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton("192.0.2.1")
    )


def test_without_tunnels_or_peers_there_is_nothing_to_trace() -> None:
    assert "meta nftrace" not in table(Config())


def test_all_is_observed_where_nothing_of_it_exists(
    namespace: Callable[[], Namespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WINDOW", "_UNTIL_IKE", "_ANSWER"):
        monkeypatch.setattr(collect, name, 0.05)
    down = observed.status(peers=(observed.peer(state="connecting"),))
    seen = namespace().run(lambda: collect._observe(Facts(config_file="f"), observed.config(), down, trace=False))
    assert seen.tunnels["gre1"].interface is None
    assert seen.routes == {observed.PEER: None}
    assert seen.control.arrived == {}
