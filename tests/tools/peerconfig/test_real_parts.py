"""What is made for strongSwan and FRR is what charon and pimd take."""

import subprocess
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest

from mcastd.config.model import Config
from mcastd.tools.peerconfig import PSK, linux
from tests.ipsec.charons import Charon
from tests.namespaces import Namespace
from tests.tools.peerconfig.agreed import example, route_based, transport, with_child, with_peer, with_pim

pytestmark = pytest.mark.root

CONFIGS = {
    "article": example(),
    "ikev1": with_peer(example(), version=1),
    "transport": transport(),
    "route-based": route_based(gre=True),
    "aead": with_child(
        with_peer(example(), proposals=("aes256gcm16-prfsha384-ecp384",)), proposals=("aes256gcm16-ecp384",)
    ),
    "several": with_child(example(), proposals=("aes256-sha256-modp2048", "aes128gcm16-ecp256"), protocol="gre"),
    "names": with_peer(
        example(), name="dc.tun", local_id='C=CH, O="A, B", CN=vm#1', remote_id="@dc.example.com", encap=True
    ),
}


@pytest.fixture(scope="module")
def charon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Charon]:
    namespace = Namespace()
    charon = Charon(tmp_path_factory.mktemp("charon"), namespace.name)
    try:
        charon.start()
        charon.wait_ready()
        yield charon
    finally:
        charon.stop()
        namespace.remove()


def swanctl(charon: Charon, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["swanctl", *arguments, "--uri", f"unix://{charon.socket}"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def loaded(charon: Charon, tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    def load(text: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "swanctl.conf"
        file.write_text(text)
        return swanctl(charon, "--load-all", "--clear", "--file", str(file))

    return load


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_charon_loads_the_connection_and_its_key(
    config: Config, charon: Charon, loaded: Callable[[str], subprocess.CompletedProcess[str]]
) -> None:
    done = loaded(linux.swanctl_conf(config).replace(PSK, "a key"))
    assert done.returncode == 0, done.stderr
    assert "successfully loaded 1 connections" in done.stdout
    assert "loaded ike secret" in done.stdout
    listed = swanctl(charon, "--list-conns").stdout
    assert all(f"  {child.name}: " in listed for child in config.peers[0].children)
    assert f"remote: {'222.45.67.1' if config is not CONFIGS['names'] else '<PUBLIC-ADDRESS>'}" in listed


def test_charon_does_not_load_what_is_wrong(loaded: Callable[[str], subprocess.CompletedProcess[str]]) -> None:
    done = loaded(linux.swanctl_conf(example()).replace("aes256-sha256-modp2048", "nonsense"))
    assert "loading connection 'dc-tun' failed" in done.stdout + done.stderr


@pytest.mark.parametrize("known", [True, False])
def test_pimd_knows_every_line(known: bool) -> None:
    ranges = (IPv4Network("232.1.0.0/16"), IPv4Network("239.255.0.0/16"))
    text = linux.frr_conf(with_pim(example(), ssm_ranges=ranges, bootstrap=True), inside="lan0")
    with NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(text if known else text.replace("ip pim ssm", "ip pim nonsense"))
        file.flush()
        Path(file.name).chmod(0o644)  # pimd reads it as the user frr
        argv = ["/usr/lib/frr/pimd", "--dryrun", "-f", file.name]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert "configuration file" not in done.stderr
    assert ("No such command" not in done.stderr) is known
