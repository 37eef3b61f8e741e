"""``mcastd trace`` in the cloud, from before the daemon's start: all that makes the path, in words and as a file."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from mcastd.lab.commands import wait_for
from mcastd.lab.scene import Scene
from mcastd.lab.state import Process
from mcastd.lab.topology import CLOUD
from tests import pcap
from tests.lab.datapath import kernel_does

pytestmark = pytest.mark.root

EXPECTED = [
    "10.1.1.246.500 > 177.54.214.20.500: IKEv2 IKE_SA_INIT request 0 of the initiator",
    ": SA (AES-CBC-256/SHA2-256-128/PRF_HMAC_SHA2_256/2048MODPgr), Key Exchange, Nonce",
    "IKEv2 IKE_SA_INIT response 0 of the responder",
    "10.1.1.246.4500 > 177.54.214.20.4500: IKEv2 IKE_AUTH request 1 of the initiator",
    "IKEv2 IKE_AUTH response 1 of the responder",
    "keepalive request from 10.44.7.1, asks for an answer 10.44.6.1 > 10.44.7.1",
    "inside a keepalive: the answer that 10.44.7.1 asks for",
    "10.44.4.6 > 224.0.0.13: PIMv2 Hello, holdtime 105",
    "10.44.4.5 > 224.0.0.13: PIMv2 Hello",
    "PIMv2 Join (*,239.1.1.1) RP 100.15.30.253 to 10.44.4.5, holdtime 210",
    "joins 239.1.1.1",
]

# What leaves is ESP already where it would be seen, if that is the kernel's.
EXPECTED_OF_USERSPACE_ESP = "10.44.6.1 > 10.44.7.1: GREv0, keepalive of 10.44.7.1 answered"


def told(scene: Scene, line: str) -> bool:
    return line in scene.log("trace").read_text()


@contextmanager
def tracing(scene: Scene, name: str, *words: str) -> Iterator[Process]:
    """A trace in the cloud, and its end by Ctrl-C."""
    scene.log(name).unlink(missing_ok=True)
    process = scene.start(CLOUD, name, ["mcastd", "trace", *words])
    try:
        wait_for("the trace", lambda: "Ctrl-C ends it" in scene.log(name).read_text())
        yield process
        if process.alive:
            assert scene.stop(process, signal.SIGINT) == 0
    finally:
        scene.stop(process)


@pytest.mark.also_kernel
def test_all_that_makes_the_path_is_seen_and_the_file_is_one_that_tshark_reads(scene: Scene) -> None:
    file = scene.folder / "trace.pcapng"
    file.unlink(missing_ok=True)
    expected = EXPECTED if kernel_does("esp") else [*EXPECTED, EXPECTED_OF_USERSPACE_ESP]
    with tracing(scene, "trace"), tracing(scene, "trace-file", "--write", str(file)):
        scene.start_daemon()
        scene.wait_for_status("everything is up", lambda status: status.healthy)
        for line in expected:
            wait_for(line, partial(told, scene, line))
    lines = scene.log("trace").read_text().splitlines()
    assert "broken" not in "\n".join(lines)
    assert not any(" 239.1.1.1: " in line for line in lines), "the feed"
    summary = lines[-1]
    assert " 0 igmp" not in summary
    assert "ESP 0 in" not in summary
    assert "lost" not in summary
    kinds = {layer for packet in pcap.tshark(file) for layer in packet}
    assert {"isakmp", "gre", "pim", "igmp"} <= kinds
    complaints = ["tshark", "-r", str(file), "-Y", "_ws.malformed || _ws.expert.severity == error"]
    assert subprocess.run(complaints, check=True, capture_output=True, text=True).stdout == ""


def test_only_what_is_asked_for_and_no_more_than_that(running: Scene) -> None:
    with tracing(running, "trace", "--tunnel", "gre1", "--only", "keepalive", "--count", "5") as process:
        wait_for("its end", lambda: not process.alive)
    lines = running.log("trace").read_text().splitlines()
    assert len(lines) == 7
    assert all("keepalive" in line for line in lines[:-1])
    assert "0 ike, 5 keepalive, 0 pim, 0 igmp" in lines[-1]
