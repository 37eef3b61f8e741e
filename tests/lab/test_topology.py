import re
from pathlib import Path

import pytest

from mcastd.config.load import load
from mcastd.config.model import Config
from mcastd.config.other_side import far_mtu
from mcastd.firewall import rules
from mcastd.lab import receivers, sites, topology
from mcastd.lab.topology import DcIpsec
from mcastd.tools.peerconfig import linux

GROUPS = ("239.1.1.1", "232.1.1.1@100.15.30.10")


def configuration(folder: Path, mode: str = "tunnel", groups: tuple[str, ...] = GROUPS) -> Config:
    psk = folder / "psk"
    psk.touch(0o600)
    psk.write_text("a key of this test\n")
    file = folder / "mcastd.toml"
    conf, vici = folder / "strongswan.conf", folder / "vici"
    text = topology.mcastd_toml(strongswan=conf, vici=vici, runtime=folder, psk_file=psk, groups=groups, mode=mode)
    file.write_text(text)
    return load(file).config


def test_the_configuration_of_the_lab_is_valid_and_is_the_articles(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    assert [(child.name, str(child.local_ts), str(child.remote_ts)) for child in config.peers[0].children] == [
        ("dc-tun-gre", "10.44.6.1/32", "10.44.7.1/32"),
        ("dc-tun-tcp", "10.45.8.16/28", "100.15.30.0/24"),
    ]
    assert [str(group.group) for group in config.groups] == ["239.1.1.1", "232.1.1.1"]
    assert [str(source) for source in config.groups[1].sources] == ["100.15.30.10"]


def test_receivers_of_two_data_centres_get_what_comes_by_both(tmp_path: Path) -> None:
    configuration(tmp_path, groups=())
    file = tmp_path / "mcastd.toml"
    second = sites.second_toml(tmp_path / "psk", ("239.1.1.1",), follow=True)
    overlay = receivers.overlay_toml(site.tunnel for site in sites.SITES)
    file.write_text(file.read_text() + second + overlay)
    assert load(file).config.overlay[0].from_ == ("gre1", "gre2")


@pytest.mark.parametrize("mode", topology.MODES)
def test_the_configuration_of_every_mode_is_valid_and_understood(tmp_path: Path, mode: str) -> None:
    config = configuration(tmp_path, mode)
    assert config.peers[0].children[0].mode == ("interface" if mode == "none" else mode)
    assert config.tunnels[0].encapsulation == ("none" if mode == "none" else "gre")
    assert far_mtu(config, config.tunnels[0]) == topology.MODES[mode].mtu
    assert topology.data_centre(config, DcIpsec("")).peers == config.peers


def test_the_data_centre_can_understand_something_else(tmp_path: Path) -> None:
    changed = DcIpsec("", gre_remote_ts="10.44.6.2/32", esp_proposal="aes128-sha1")
    text = linux.swanctl_conf(topology.data_centre(configuration(tmp_path), changed))
    assert "remote_ts = 10.44.6.2/32" in text
    assert text.count("esp_proposals = aes128-sha1\n") == 2


def test_without_nftables_the_same_configuration_makes_no_rule(tmp_path: Path) -> None:
    assert rules.table(configuration(tmp_path)) != ""
    file = tmp_path / "mcastd.toml"
    file.write_text(topology.without_firewall(file.read_text()))
    assert rules.table(load(file, check_files=False).config) == ""


def test_a_psk_is_in_no_representation() -> None:
    assert "secret words" not in repr(DcIpsec("secret words"))


def test_without_a_segment_behind_the_vm_the_scene_is_as_it_was() -> None:
    assert topology.links() is topology.LINKS
    assert sites.links(1) is topology.LINKS
    assert set(topology.SYSCTLS) == {*topology.NODES, *topology.LAN_NODES}


def test_on_a_segment_behind_the_vm_every_node_has_a_port_of_the_bridge() -> None:
    lines = topology.links((topology.HOST_V2, topology.SECOND), snooping=False)
    assert set(lines) == {*topology.NODES, topology.LAN, topology.HOST_V2, topology.SECOND}
    assert lines[topology.LAN].count(" master br0 up") == 4
    assert "mcast_snooping 0" in lines[topology.LAN]
    assert "link add eth1" not in lines[topology.CLOUD]
    assert f"address add {topology.VM_SUBNET}/16 dev eth1" in lines[topology.CLOUD]
    assert next(iter(lines)) == topology.LAN  # its ports are the other nodes' interfaces


def test_a_second_data_centre_has_addresses_and_a_part_of_the_configuration_of_its_own(tmp_path: Path) -> None:
    lines = sites.links(2)
    assert set(lines) == {*topology.NODES, sites.DC2, sites.SOURCE2} <= set(sites.SYSCTLS)
    assert not set(re.findall(r"[0-9.]+/32|default via .*", lines[sites.DC2])) & set(re.findall(r"\S+", lines["dc"]))
    assert lines[sites.SOURCE2] == lines[topology.SOURCE]
    first = configuration(tmp_path, groups=())
    file = tmp_path / "mcastd.toml"
    more = sites.second_toml(tmp_path / "psk", ("239.1.1.1",), follow=False)
    file.write_text(file.read_text() + more)
    both = load(file).config
    assert both.groups[-1].tunnels == ("gre1", "gre2")
    assert sites.of_site(both, sites.FIRST).peers == first.peers
    assert sites.of_site(both, sites.FIRST).tunnels == first.tunnels
    theirs = linux.swanctl_conf(sites.of_site(both, sites.SECOND))
    assert "local_addrs = 198.51.100.20" in theirs
    assert "177.54.214.20" not in theirs
