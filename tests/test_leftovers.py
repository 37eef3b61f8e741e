"""What a crash leaves, where the next life has another file: its GRE is guarded until its link is gone."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import AF_INET, AF_UNIX, IPPROTO_GRE, SOCK_DGRAM, socket

import pytest

from mcastd.lab.commands import wait_for
from tests.lab.pim_scene import open_tap, read_tap
from tests.namespaces import Namespace, join

pytestmark = [pytest.mark.root, pytest.mark.kernel("gre", "nftables")]

FORMER = """
[daemon]
datapath = "kernel"
runtime_dir = "{folder}/run"
vici_socket = "{folder}/no-charon"

[firewall]
guard = {guard}

[peers.dc]
local = "192.0.2.1"
remote = "192.0.2.2"
local_id = "192.0.2.1"
remote_id = "192.0.2.2"
psk_file = "{folder}/psk"
proposals = ["aes256-sha256-modp2048"]

[peers.dc.children.c]
local_ts = "10.44.6.1/32"
remote_ts = "10.44.7.0/24"
proposals = ["aes256-sha256-modp2048"]

[tunnels.gre1]
child = "c"
local = "10.44.6.1"
remote = "10.44.7.1"
address = "10.44.4.6/30"
"""
LATER = {
    "no tunnel": lambda text: text.partition("[firewall]")[0],
    "another far endpoint": lambda text: text.replace("10.44.7.1", "10.44.7.2"),
}
PATIENCE = 120.0  # an emulated machine is slow


def mcastd(host: Namespace, *arguments: object) -> list[str]:
    return ["ip", "netns", "exec", host.name, sys.executable, "-m", "mcastd", *map(str, arguments)]


@contextmanager
def daemon(host: Namespace, file: Path) -> Iterator[None]:
    """A daemon that is ready, and in the end killed."""
    address = file.with_name("notify")
    with socket(AF_UNIX, SOCK_DGRAM) as said:
        said.bind(str(address))
        said.settimeout(PATIENCE)
        process = subprocess.Popen(mcastd(host, "run", "-c", file), env={**os.environ, "NOTIFY_SOCKET": str(address)})
        try:
            while not said.recv(4096).startswith(b"READY=1"):
                continue
            yield
        finally:
            process.kill()
            process.wait()
            address.unlink()


@contextmanager
def talking(host: Namespace) -> Iterator[None]:
    """An application that sends into the tunnel all the time."""
    ended = threading.Event()

    def talk() -> None:
        with host.call(lambda: socket(AF_INET, SOCK_DGRAM)) as sock:
            while not ended.wait(0.005):  # an emulated processor has other things to do
                with suppress(OSError):
                    sock.sendto(b"not for others' eyes", ("10.44.4.5", 5000))

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize(
    ("later", "command", "guard"),
    [("another far endpoint", "run", True), ("no tunnel", "cleanup", True), ("no tunnel", "run", False)],
    ids=["run", "cleanup", "guard off"],
)
def test_no_gre_of_a_former_file_is_in_the_clear(
    namespace: Callable[[], Namespace], tmp_path: Path, later: str, command: str, guard: bool
) -> None:
    host, internet = namespace(), namespace()
    join(host, "192.0.2.1/24", internet, "192.0.2.2/24")
    host.ip("route", "add", "default", "via", "192.0.2.2")
    file, key = tmp_path / "mcastd.toml", tmp_path / "psk"
    key.touch(0o600)
    key.write_text("a key")
    file.write_text(FORMER.format(folder=tmp_path, guard=str(guard).lower()))
    with daemon(host, file):
        # On a slow machine it is ready before it has made the link.
        wait_for("gre1", lambda: "gre1" in host.ip("link"), PATIENCE)
        host.ip("link", "set", "gre1", "up")  # as it is once its child has been there
    file.write_text(LATER[later](file.read_text()))
    with host.call(lambda: open_tap("veth0", IPPROTO_GRE)) as wire, talking(host):
        if command == "run":
            with daemon(host, file):
                pass
        else:
            subprocess.run(mcastd(host, "cleanup", "-c", file), check=True, timeout=PATIENCE)
        assert "10.44.7.1" not in host.ip("link", "show", "type", "gre")
        leaked = sum(packet.outgoing for packet in read_tap(wire))
    assert bool(leaked) is not guard
