"""Other agreements than the article's, until the feed arrives: the other side runs what is made for it."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcastd.lab.commands import wait_for
from mcastd.lab.scene import Scene
from mcastd.lab.topology import DC_PUBLIC, GROUP, VM_PUBLIC
from tests.ipsec.certificates import Authority
from tests.lab.datapath import assert_datapath

pytestmark = pytest.mark.root


def change(scene: Scene, lines: str) -> None:
    """Put lines in place of the key of the peer."""
    scene.config.write_text(re.sub(r"(?m)^psk_file = .*$", lines, scene.config.read_text()))


def arrives(scene: Scene) -> str:
    """Start the daemon; when all is well and the feed arrives, returns the other side's SAs."""
    scene.start_daemon()
    wait_for("the feed", lambda: scene.feed.received()[GROUP].received > 100)
    scene.wait_for_status("everything is up", lambda status: status.healthy)
    assert_datapath(scene)
    assert scene.leaked() == 0
    return scene.dc.security_associations()


def test_ikev1_with_a_pre_shared_key(scene: Scene) -> None:
    change(scene, rf'psk_file = "{scene.folder}/cloud/psk"\nversion = 1')
    scene.dc.agree()
    assert "IKEv1" in arrives(scene)


@pytest.fixture
def certified(scene: Scene) -> Iterator[Path]:
    """Certificates of one authority on both sides, and no key; yields that of the data centre."""
    folder = scene.folder / "certificates"
    folder.mkdir()
    authority = Authority(folder, "ca")
    ours, our_key = authority.issue("cloud", VM_PUBLIC)
    theirs, their_key = authority.issue("dc", DC_PUBLIC)
    change(scene, f'local_cert = "{ours}"\nlocal_key = "{our_key}"\nca_certs = ["{authority.certificate}"]')
    swanctl = {"x509": theirs, "private": their_key, "x509ca": authority.certificate}
    for place, file in swanctl.items():
        (scene.folder / "dc" / place).mkdir()
        shutil.copy(file, scene.folder / "dc" / place)
    yield Path(theirs.name)
    for each in (folder, *(scene.folder / "dc" / place for place in swanctl)):
        shutil.rmtree(each)


@pytest.mark.parametrize("version", [1, 2])
def test_certificates(scene: Scene, certified: Path, version: int) -> None:
    scene.config.write_text(scene.config.read_text().replace("local_cert", f"version = {version}\nlocal_cert"))
    scene.dc.agree(certificate=certified)
    assert f"IKEv{version}" in arrives(scene)
