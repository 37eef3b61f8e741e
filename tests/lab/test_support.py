"""``mcastd support`` in the lab: all that helps is in it, and no key in any encoding, not even out of charon's log."""

import base64
import io
import re
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from mcastd.lab.charon import start_charon, wait_for_charons
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLOUD

pytestmark = pytest.mark.root

# A journald in a mount namespace of its own (it needs /sys, which `ip netns exec` hides). charon's log is sent to it.
SCRIPT = r"""
mkdir -p /run/systemd /run/log /var/log/journal
for folder in /run/systemd /run/log /var/log/journal; do mount -t tmpfs tmpfs $folder; done
mkdir -p /run/systemd/system /run/systemd/journal /run/systemd/journald.conf.d
printf '[Journal]\nRateLimitBurst=0\nStorage=volatile\n' > /run/systemd/journald.conf.d/lab.conf
/lib/systemd/systemd-journald & journald=$!
trap 'kill $journald' EXIT
until [ -S /run/systemd/journal/socket ]; do sleep 0.05; done
python3 - "$1" <<'PYTHON'
import socket, sys
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.connect("/run/systemd/journal/socket")
for line in open(sys.argv[1], errors="replace").readlines():
    journal.send(b"MESSAGE=%b\nSYSLOG_IDENTIFIER=charon\nUNIT=strongswan.service\n" % line.rstrip().encode())
PYTHON
journalctl --sync
shift
"$@"
"""

# In an emulated machine a command may take half a minute.
PATIENT = """
import sys
from mcastd.cli import main
from mcastd.tools.support import collect
collect._TIMEOUT = 120.0
sys.exit(main())
"""


def support(scene: Scene, path: Path) -> dict[str, bytes]:
    """What the archive has, made beside a journal with charon's log in it."""
    network = f"--net=/run/netns/{scene.namespace(CLOUD)}"
    command = ["unshare", "--mount", "nsenter", network, "bash", "-ec", SCRIPT, "bash", str(scene.log("charon-cloud"))]
    command += [sys.executable, "-c", PATIENT, "support", "-o", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=scene.environment())
    assert done.returncode == 0, done.stdout + done.stderr
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes()), mode="r:xz") as tar:
        files = {member.name.removeprefix("mcastd-support/"): tar.extractfile(member) for member in tar}
        return {name: file.read() for name, file in files.items() if file is not None}


def session_keys(scene: Scene) -> set[bytes]:
    """The keys of the SAs: of the IKE_SA and in user space out of charon's log at level 4, of the kernel from it."""
    log = scene.log("charon-cloud").read_text(errors="replace")
    dumps = re.findall(
        r"(?:key|secret|SK_\w+)[^\n]* => \d+ bytes[^\n]*\n((?:[^\n]*\d: (?:[0-9A-F]{2} )+[^\n]*\n)+)", log
    )
    keys = {bytes.fromhex("".join(re.findall(r"\d: ((?:[0-9A-F]{2} )+)", dump))) for dump in dumps}
    kernel = scene.command(CLOUD, ["ip", "xfrm", "state"])
    return keys | {bytes.fromhex(key) for key in re.findall(r"0x([0-9a-f]{32,})", kernel)}


def encodings(key: bytes) -> set[bytes]:
    """Raw, hexadecimal (also after 0x), base64, and as charon dumps it."""
    dumped = " ".join(f"{byte:02X}" for byte in key[:16]).encode()
    return {key, key.hex().encode(), key.hex().upper().encode(), base64.b64encode(key).rstrip(b"="), dumped}


@pytest.mark.also_kernel
def test_the_archive_has_what_helps_and_no_key(scene: Scene, tmp_path: Path) -> None:
    settings = scene.strongswan_conf(CLOUD)
    before = settings.read_text()
    scene.kill("charon-cloud", signal.SIGKILL)
    settings.write_text(before.replace("default = 1", "default = 1\n        ike = 4\n        chd = 4"))
    try:
        start_charon(scene, CLOUD)
        wait_for_charons(scene)
        psk = scene.psk.encode()
        planted = "".join(
            f"# a key: {text}\n" for text in (scene.psk, psk.hex(), f"0x{psk.hex()}", base64.b64encode(psk).decode())
        )
        scene.config.write_text(scene.config.read_text() + planted)
        scene.start_daemon()
        scene.wait_for_status("everything is up", lambda status: status.healthy)
        found = support(scene, tmp_path / "support.tar.xz")
    finally:
        scene.stop_daemon()
        scene.kill("charon-cloud", signal.SIGKILL)
        settings.write_text(before)
        start_charon(scene, CLOUD)
        wait_for_charons(scene)

    sessions = session_keys(scene)
    assert len(sessions) >= 4
    everything = b"\n".join(found.values())
    assert {key.hex() for key in {psk, *sessions} for encoded in encodings(key) if encoded in everything} == set()

    contents = found["contents.txt"].decode()
    assert f"{scene.config}, " in contents
    had = {"mcastd-status-all.txt", "mcastd-doctor.txt", "swanctl-list-sas.txt", "nft-list-ruleset.txt"}
    assert had <= found.keys(), contents
    assert b"dc-tun-gre" in found["swanctl-list-sas.txt"]
    assert b'"healthy":true' in found["mcastd-status-json.txt"]
    assert b"gre1" in found["ip-d-s-link.txt"]
    assert b"rp_filter: " in found["files-in-proc-sys-net.txt"]
    assert b"CHILD_SA dc-tun-gre" in found["journal-of-strongswan-service-last-24-hours.txt"]
