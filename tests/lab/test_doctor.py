"""``mcastd doctor`` in the lab: a healthy path reports nothing, and each broken hop is found by its name."""

import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec
import pytest

from mcastd.lab.charon import start_charon, wait_for_charons
from mcastd.lab.commands import wait_for
from mcastd.lab.scene import Scene
from mcastd.lab.topology import (
    CLOUD,
    DC,
    GRE_CLOUD,
    GRE_DC,
    GROUP,
    PORT,
    RP_GROUPS,
    SOURCE_ADDRESS,
    TUNNEL,
    TUNNEL_CLOUD,
    VM,
    VM_GATEWAY,
)
from mcastd.status import Status
from tests.lab.datapath import kernel_does
from tests.lab.spoof import way_in
from tests.vm import abilities

pytestmark = pytest.mark.root

IP_ADD_SOURCE_MEMBERSHIP = 39


@dataclass(frozen=True)
class Told:
    """What the doctor said."""

    exit_code: int
    problem: str | None
    hop: str | None
    well: list[str] = field(default_factory=list)
    text: str = ""


def doctor(scene: Scene, *options: str) -> Told:
    answer = scene.exec(CLOUD, ["mcastd", "doctor", "--json", *options])
    assert answer.returncode in (0, 1), answer.stdout + answer.stderr
    told = msgspec.json.decode(answer.stdout)
    assert told["schema"] == 1
    finding = told["finding"] or {}
    assert told["healthy"] is (not finding) is (answer.returncode == 0)
    return Told(answer.returncode, finding.get("problem"), finding.get("hop"), told["well"], answer.stdout)


def finds(scene: Scene, problem: str, hop: str) -> str:
    """The doctor names this problem at this hop, and every hop before it is well; returns all that it says."""
    told = doctor(scene)
    assert (told.problem, told.hop) == (problem, hop), told.text
    assert hop not in told.well
    return told.text


@contextmanager
def dropping(scene: Scene, place: str, hook: str, rule: str) -> Iterator[None]:
    """A firewall of somebody else's. Where there is no nftables, the rule is one for a protocol alone."""
    if not abilities.has("nftables"):
        words = [hook.upper(), "--protocol", rule.removeprefix("ip protocol "), "--jump", "DROP"]
        scene.command(place, ["iptables-legacy", "--insert", *words])
        try:
            yield
        finally:
            scene.command(place, ["iptables-legacy", "--delete", *words])
        return
    chain = f"chain there {{ type filter hook {hook} priority -10; {rule} drop; }};"
    scene.command(place, ["nft", "-f", "-"], text=f"table ip somebody {{ {chain} }}")
    try:
        yield
    finally:
        scene.command(place, ["nft", "delete", "table", "ip", "somebody"])


def started(scene: Scene, what: str, ready: Callable[[Status], object]) -> None:
    """Start the daemon on a path that is broken already; returns when the status shows it."""
    scene.start_daemon()
    scene.wait_for_status(what, ready, 30.0)


def edit(scene: Scene, old: str, new: str) -> None:
    text = scene.config.read_text()
    assert old in text
    scene.config.write_text(text.replace(old, new))


@contextmanager
def application(
    scene: Scene, bound_to: str, joined_on: str, port: int = PORT, *, device: str = "", source: str = ""
) -> Iterator[None]:
    """An application that joins in its own way, in place of the scene's."""
    scene.feed.stop_receiving()
    kind = IP_ADD_SOURCE_MEMBERSHIP if source else socket.IP_ADD_MEMBERSHIP
    addresses = [GROUP, joined_on, source] if source else [GROUP, joined_on]
    code = (
        "import signal, socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
        f"s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, {device.encode()!r}); "
        f"s.bind(('{bound_to}', {port})); "
        f"s.setsockopt(socket.IPPROTO_IP, {kind:d}, b''.join(map(socket.inet_aton, {addresses}))); "
        "print('joined', flush=True); signal.pause()"
    )
    process = scene.start(CLOUD, "application", ["python3", "-c", code])
    wait_for("the application", lambda: "joined" in scene.tail("application") or not process.alive)
    assert process.alive, scene.tail("application")
    try:
        yield
    finally:
        scene.stop(process)


@pytest.mark.also_kernel
def test_a_healthy_path_reports_nothing(running: Scene) -> None:
    told = doctor(running)
    assert (told.problem, told.exit_code) == (None, 0), told.text
    assert told.well[-1] == "loss"
    people = running.exec(CLOUD, ["mcastd", "doctor"])
    assert "Nothing is broken." in people.stdout
    assert f"ok: {TUNNEL} (" in people.stdout
    assert "BROKEN" not in people.stdout


def test_an_idle_path_reports_nothing(running: Scene) -> None:
    running.feed.stop_receiving()
    text = running.config.read_text()
    running.config.write_text(text[: text.index("[[groups]]")])
    assert running.exec(CLOUD, ["mcastd", "reload"]).returncode == 0
    assert doctor(running).problem is None


# The configuration and the daemon


def test_a_group_of_ssm_without_a_source(running: Scene) -> None:
    edit(running, f'group = "{GROUP}"', 'group = "232.1.1.1"')
    finds(running, "configuration_refused", "configuration")


def test_a_file_that_was_changed_and_not_reloaded(running: Scene) -> None:
    edit(running, f'groups = ["{RP_GROUPS}"]', 'groups = ["239.0.0.0/9"]')
    finds(running, "not_loaded", "daemon")


def test_no_daemon(scene: Scene) -> None:
    finds(scene, "daemon_silent", "daemon")


def test_a_charon_that_hangs(running: Scene) -> None:
    running.kill(f"charon-{CLOUD}", signal.SIGSTOP)
    try:
        finds(running, "charon_unclear", "charon")
    finally:
        running.kill(f"charon-{CLOUD}", signal.SIGCONT)


# IKE and the children


def test_a_wrong_psk(scene: Scene) -> None:
    (scene.folder / CLOUD / "psk").write_text("another one\n")
    try:
        started(scene, "the refusal", lambda status: status.peers[0].problem)
        finds(scene, "authentication", "ike")
    finally:
        (scene.folder / CLOUD / "psk").write_text(scene.psk + "\n")


def test_wrong_algorithms(scene: Scene) -> None:
    scene.dc.load(ike_proposal="aes128-sha256-ecp256")
    started(scene, "the refusal", lambda status: status.peers[0].problem)
    finds(scene, "proposal", "ike")


def test_a_wrong_selector(scene: Scene) -> None:
    scene.dc.load(gre_local_ts="10.44.7.2/32")
    started(scene, "the refusal", lambda status: status.peers[0].children[0].problem)
    finds(scene, "selectors", "child")


def test_udp_is_blocked(scene: Scene) -> None:
    scene.block(500, 4500)
    started(scene, "that nobody answers", lambda status: status.peers[0].problem)
    finds(scene, "no_answer", "ike")


def test_ike_that_this_host_does_not_let_in(scene: Scene) -> None:
    with dropping(scene, CLOUD, "input", "udp sport { 500, 4500 }"):
        started(scene, "that nobody answers", lambda status: status.peers[0].problem)
        assert "of ip somebody there (nft" in finds(scene, "ike_dropped_here", "ike")


def test_udp_4500_is_blocked(scene: Scene) -> None:
    scene.block(4500)
    started(scene, "that nobody answers", lambda status: status.peers[0].problem)
    finds(scene, "udp_4500_blocked", "ike")


def test_another_ike_daemon(scene: Scene) -> None:
    code = (
        "import signal, socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 500)); signal.pause()"
    )
    listening = ["ss", "-uln", "sport", "=", "500"]
    scene.kill(f"charon-{CLOUD}", signal.SIGKILL)
    wait_for("the free port", lambda: ":500" not in scene.command(CLOUD, listening))
    another = scene.start(CLOUD, "another", ["python3", "-c", code])
    try:
        wait_for("the other", lambda: ":500" in scene.command(CLOUD, listening))
        start_charon(scene, CLOUD)
        wait_for_charons(scene)
        started(scene, "the failure", lambda status: status.peers[0].problem)
        finds(scene, "port_taken", "ike")
    finally:
        scene.stop(another)
        scene.stop_daemon()
        scene.kill(f"charon-{CLOUD}", signal.SIGKILL)
        start_charon(scene, CLOUD)
        wait_for_charons(scene)


# ESP on the wire


def _answered(status: Status) -> int:
    keepalive = status.tunnels[0].keepalive
    return keepalive.answered if keepalive is not None else 0


def _stopped(status: Status) -> bool:
    keepalive = status.tunnels[0].keepalive
    return keepalive is not None and keepalive.stopped


@contextmanager
def silent_source(scene: Scene) -> Iterator[None]:
    """The source is silent, and the daemon says so, which it does of streams that it has known for some seconds."""
    scene.wait_for_status("the feed", lambda status: (status.groups[0].uptime or 0.0) > 8.0, 30.0)
    with dropping(scene, DC, "prerouting", f'iifname "lan0" ip saddr {SOURCE_ADDRESS}'):
        scene.wait_for_status("the silence", lambda status: _is_reported(status, "all_silent"), 30.0)
        yield


def _is_reported(status: Status, code: str) -> bool:
    return any(problem.code == code for problem in status.problems)


def test_a_gateway_that_does_not_answer(running: Scene) -> None:
    running.command(CLOUD, ["ip", "route", "replace", "default", "via", "10.1.1.99"])
    try:
        asked = ["ip", "neighbor", "show", "10.1.1.99"]
        wait_for("the question", lambda: running.command(CLOUD, asked))
        finds(running, "no_way", "esp")
    finally:
        running.command(CLOUD, ["ip", "route", "replace", "default", "via", VM_GATEWAY])


def test_esp_that_this_host_does_not_let_out(running: Scene) -> None:
    with dropping(running, CLOUD, "output", "udp dport 4500"):
        finds(running, "esp_held_back", "esp")


def test_esp_that_this_host_does_not_let_in(running: Scene) -> None:
    with dropping(running, CLOUD, "input", "udp sport 4500"):
        finds(running, "not_decrypted", "esp")


def test_loss_on_the_way(running: Scene) -> None:
    with dropping(running, "internet", "forward", 'iifname "dc0" udp dport 4500 numgen random mod 10 < 1'):
        finds(running, "lost_on_the_way", "loss")


def test_nothing_arrives_any_more(running: Scene) -> None:
    # Of their period it knows by the second one.
    running.wait_for_status("two keepalives", lambda status: _answered(status) > 1, 30.0)
    with dropping(running, "internet", "forward", 'iifname "dc0" udp dport 4500'):
        running.wait_for_status("the silence", _stopped, 30.0)
        finds(running, "nothing_comes_back", "gre")


# GRE, MTU, keepalives


def test_gre_comes_in_the_clear(running: Scene) -> None:
    ends = socket.inet_aton(GRE_DC) + socket.inet_aton(GRE_CLOUD)
    packet = bytes.fromhex("4500001c00000000402f0000") + ends + bytes.fromhex("00000800") + bytes(4)
    with way_in(running) as spoofer, ThreadPoolExecutor(1) as thread:
        told = thread.submit(doctor, running)
        while not told.done():
            spoofer.sendto(packet, (GRE_CLOUD, 0))
            time.sleep(0.05)
    found = told.result()
    assert (found.problem, found.hop) == ("gre_arrives_in_the_clear", "leak_guard"), found.text


@contextmanager
def icmp_without_limit(scene: Scene) -> Iterator[None]:
    """At its rate the kernel there, which is asked all the time, may have nothing to say while doctor listens."""
    limit = "net.ipv4.icmp_ratelimit"
    found = scene.command(DC, ["sysctl", "-n", limit]).strip()
    scene.command(DC, ["sysctl", "-qw", f"{limit}=0"])
    try:
        yield
    finally:
        scene.command(DC, ["sysctl", "-qw", f"{limit}={found}"])


@pytest.mark.also_kernel
def test_gre_is_blocked_inside(scene: Scene) -> None:
    with dropping(scene, DC, "output", "ip protocol 47"), icmp_without_limit(scene):
        scene.start_daemon()
        scene.wait_for_status("what goes out", lambda status: status.peers[0].children[0].packets_out > 5, 30.0)
        # Their keepalives take their line down, and a kernel says by ICMP that there is no tunnel.
        finds(scene, "gre_refused" if kernel_does("gre") else "nothing_comes_back", "gre")


@pytest.mark.also_kernel
def test_gre_is_blocked_here(scene: Scene) -> None:
    with dropping(scene, CLOUD, "input", "ip protocol 47"):
        scene.start_daemon()
        scene.wait_for_status("what comes in", lambda status: status.peers[0].children[0].packets_in > 5, 30.0)
        finds(scene, "gre_dropped_here", "gre")


@pytest.mark.also_kernel
@pytest.mark.parametrize(("line", "problem"), [("key = 40", "gre_key"), ("checksum = true", "gre_options")])
def test_gre_of_another_kind(scene: Scene, line: str, problem: str) -> None:
    edit(scene, "keepalive.reply = true", f"keepalive.reply = true\n{line}")
    scene.start_daemon()
    scene.wait_for_status("what comes in", lambda status: status.peers[0].children[0].packets_in > 5, 30.0)
    finds(scene, problem, "gre")


@pytest.mark.kernel("gre", "esp")
def test_the_kernels_ipsec_takes_nothing(running: Scene) -> None:
    """First nothing leads into an SA, then what is encrypted has none; charon knows of neither."""
    running.command(CLOUD, ["ip", "xfrm", "policy", "deleteall", "dir", "out"])
    finds(running, "not_encrypted", "gre")
    running.command(CLOUD, ["ip", "xfrm", "policy", "flush"])
    finds(running, "no_inbound_policy", "esp")
    running.command(CLOUD, ["ip", "xfrm", "state", "flush"])
    assert "XfrmInNoStates" in finds(running, "not_decrypted", "esp")


@pytest.mark.also_kernel
def test_a_narrow_path(running: Scene) -> None:
    # An interface takes nothing that is larger than its MTU, and what lies before it does not know.
    set_mtu = ["ip", "link", "set", "eth0", "mtu"]
    running.command(DC, [*set_mtu, "1300"])
    try:
        finds(running, "mtu", "mtu")
    finally:
        running.command(DC, [*set_mtu, "1500"])


def test_keepalives_are_not_answered(running: Scene) -> None:
    edit(running, "keepalive.reply = true", "keepalive.reply = false")
    assert running.exec(CLOUD, ["mcastd", "reload"]).returncode == 0
    asked = running.dc.keepalives().sent
    wait_for("a keepalive", lambda: running.dc.keepalives().sent > asked + 1)
    finds(running, "keepalive_reply_off", "keepalives")


# Multicast


def _hears_no_neighbor(status: Status) -> bool:
    group = status.groups[0]
    return group.problem_code == "pim_neighbor_missing" and "no Hello of" in (group.problem or "")


def _drops_hellos(status: Status) -> bool:
    pim = status.tunnels[0].pim
    return pim is not None and pim.dropped.get("neighbor_not_accepted", 0) > 0


def test_pim_is_not_allowed(scene: Scene) -> None:
    with dropping(scene, DC, "output", f'oifname "{TUNNEL}" ip protocol 103'):
        started(scene, "no Hello", _hears_no_neighbor)
        finds(scene, "no_neighbor", "neighbor")


def test_pim_that_this_host_does_not_let_in(scene: Scene) -> None:
    with dropping(scene, CLOUD, "input", "ip protocol 103"):
        started(scene, "no Hello", _hears_no_neighbor)
        assert "of ip somebody there (nft" in finds(scene, "pim_dropped_here", "neighbor")


def test_pim_that_this_host_does_not_let_out(scene: Scene) -> None:
    with dropping(scene, CLOUD, "output", "ip protocol 103"):
        started(scene, "the refusal", lambda status: status.tunnels[0].pim and status.tunnels[0].pim.problem)
        finds(scene, "sending_refused", "neighbor")


def test_another_neighbor_than_the_configured_one(scene: Scene) -> None:
    edit(scene, 'neighbor = "10.44.4.5"', 'neighbor = "10.44.4.4"')
    edit(scene, f'address = "{TUNNEL_CLOUD}"', 'address = "10.44.4.6/29"')
    started(scene, "a Hello", _drops_hellos)
    finds(scene, "wrong_neighbor", "neighbor")


def test_an_rp_known_by_bootstrap_only(scene: Scene) -> None:
    edit(scene, f'groups = ["{RP_GROUPS}"]', 'groups = ["238.0.0.0/8"]')
    edit(scene, 'neighbor = "10.44.4.5"', 'neighbor = "10.44.4.5"\nbootstrap = true')
    started(scene, "a neighbour", lambda status: status.tunnels[0].pim and status.tunnels[0].pim.neighbors)
    finds(scene, "no_rp", "rp")


def test_a_wrong_rp(scene: Scene) -> None:
    edit(scene, 'address = "100.15.30.253"', 'address = "100.15.30.99"')
    started(scene, "the join", lambda status: status.healthy)
    told = doctor(scene)
    assert (told.problem, told.exit_code) == (None, 0), told.text  # it may be a source that does not send
    (silent,) = msgspec.json.decode(told.text)["silent"]
    assert (silent["subject"], silent["groups"]) == (TUNNEL, [f"(*, {GROUP})"])
    assert "is 100.15.30.99 its RP" in silent["ask"]


def test_a_silent_source(running: Scene) -> None:
    with silent_source(running):
        finds(running, "silent", "packets_on_the_tunnel")


# On this host


@contextmanager
def strict_rp_filter(scene: Scene) -> Iterator[None]:
    """The tunnel's rp_filter is the administrator's, and strict: mcastd keeps it loose otherwise."""
    name = f"net.ipv4.conf.{TUNNEL}.rp_filter"
    edit(scene, "keepalive.reply = true", 'keepalive.reply = true\nrp_filter = "keep"')
    assert scene.exec(CLOUD, ["mcastd", "reload"]).returncode == 0
    scene.command(CLOUD, ["sysctl", "-qw", f"{name}=1"])
    try:
        yield
    finally:
        scene.command(CLOUD, ["sysctl", "-qw", f"{name}=2"])


def test_a_strict_rp_filter(running: Scene) -> None:
    with strict_rp_filter(running):
        finds(running, "rp_filter", "packets_at_an_application")


def test_a_loose_rp_filter_and_no_route_to_the_source(running: Scene) -> None:
    rule = ["to", f"{SOURCE_ADDRESS}/32", "priority", "10", "unreachable"]
    running.command(CLOUD, ["ip", "rule", "add", *rule])
    try:
        finds(running, "rp_filter", "packets_at_an_application")
    finally:
        running.command(CLOUD, ["ip", "rule", "del", *rule])


def test_the_sources_address_on_this_host(running: Scene) -> None:
    address = [f"{SOURCE_ADDRESS}/32", "dev", "lo"]
    running.command(CLOUD, ["ip", "address", "add", *address])
    try:
        finds(running, "martian_source", "packets_at_an_application")
    finally:
        running.command(CLOUD, ["ip", "address", "del", *address])


@pytest.mark.parametrize("share", ["", "numgen random mod 2 < 1"])
def test_a_firewall_of_this_host(running: Scene, share: str) -> None:
    with dropping(running, CLOUD, "input", f"udp dport {PORT} {share}"):
        told = finds(running, "dropped_here", "packets_at_an_application")
        assert f"the rule `udp dport {PORT} {share}" in told
        assert "of ip somebody there (nft" in told
        assert "of the packets that were traced" in doctor(running, "--trace-firewall").text
    assert "mcastd_doctor" not in running.command(CLOUD, ["nft", "list", "tables"])


def test_nobody_has_joined(running: Scene) -> None:
    running.feed.stop_receiving()
    finds(running, "nobody_joined", "packets_at_an_application")


def test_an_application_that_joined_on_another_interface(running: Scene) -> None:
    with application(running, "0.0.0.0", VM):
        finds(running, "wrong_interface", "packets_at_an_application")


def test_an_application_that_is_bound_to_a_unicast_address(running: Scene) -> None:
    with application(running, VM, TUNNEL_CLOUD.partition("/")[0]):
        finds(running, "bound_to_unicast", "packets_at_an_application")


def test_an_application_on_another_port(running: Scene) -> None:
    with application(running, "0.0.0.0", TUNNEL_CLOUD.partition("/")[0], PORT + 1):
        finds(running, "wrong_port", "packets_at_an_application")


def test_an_application_that_wants_another_source(running: Scene) -> None:
    with application(running, "0.0.0.0", TUNNEL_CLOUD.partition("/")[0], source="100.15.30.11"):
        finds(running, "source_filtered", "packets_at_an_application")


def test_an_application_that_is_bound_to_another_interface(running: Scene) -> None:
    with application(running, "0.0.0.0", TUNNEL_CLOUD.partition("/")[0], device="eth0"):
        finds(running, "no_socket_takes_it", "packets_at_an_application")


def test_an_application_that_does_not_read(running: Scene) -> None:
    drops = ["awk", f'$2 == "00000000:{PORT:04X}" {{ print $NF }}', "/proc/net/udp"]
    with application(running, "0.0.0.0", TUNNEL_CLOUD.partition("/")[0]):
        wait_for("a full socket", lambda: int(running.command(CLOUD, drops) or 0) > 0)
        finds(running, "socket_full", "packets_at_an_application")


def test_two_faults_are_told_one_after_the_other(running: Scene) -> None:
    with strict_rp_filter(running):
        with silent_source(running):
            finds(running, "silent", "packets_on_the_tunnel")
        finds(running, "rp_filter", "packets_at_an_application")
    assert doctor(running).problem is None
