from pathlib import Path

from mcastd.config.load import load
from mcastd.firewall import rules
from mcastd.lab import topology
from mcastd.lab.topology import DcIpsec
from mcastd.peerconfig import linux


def test_the_configuration_of_the_lab_is_valid_and_is_the_articles(tmp_path: Path) -> None:
    psk = tmp_path / "psk"
    psk.touch(0o600)
    psk.write_text("a key of this test\n")
    file = tmp_path / "mcastd.toml"
    groups = ("239.1.1.1", "232.1.1.1@100.15.30.10")
    vici, strongswan = tmp_path / "vici", tmp_path / "strongswan.conf"
    file.write_text(
        topology.mcastd_toml(vici=vici, strongswan=strongswan, runtime=tmp_path, psk_file=psk, groups=groups)
    )
    config = load(file).config
    assert [(child.name, str(child.local_ts), str(child.remote_ts)) for child in config.peers[0].children] == [
        ("dc-tun-gre", "10.44.6.1/32", "10.44.7.1/32"),
        ("dc-tun-tcp", "10.45.8.16/28", "100.15.30.0/24"),
    ]
    assert [str(group.group) for group in config.groups] == ["239.1.1.1", "232.1.1.1"]
    assert [str(source) for source in config.groups[1].sources] == ["100.15.30.10"]


def test_the_data_centre_understands_what_the_cloud_means_unless_told_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "mcastd.toml"
    file.write_text(
        topology.mcastd_toml(vici=tmp_path, strongswan=tmp_path, runtime=tmp_path, psk_file=tmp_path, groups=())
    )
    config = load(file, check_files=False).config
    assert topology.data_centre(config, DcIpsec("")).peers == config.peers
    changed = topology.data_centre(config, DcIpsec("", gre_remote_ts="10.44.6.2/32", esp_proposal="aes128-sha1"))
    text = linux.swanctl_conf(changed)
    assert "remote_ts = 10.44.6.2/32" in text
    assert text.count("esp_proposals = aes128-sha1\n") == 2


def test_without_nftables_the_same_configuration_makes_no_rule(tmp_path: Path) -> None:
    file = tmp_path / "mcastd.toml"
    text = topology.mcastd_toml(vici=tmp_path, strongswan=tmp_path, runtime=tmp_path, psk_file=tmp_path, groups=())
    file.write_text(text)
    assert rules.table(load(file, check_files=False).config) != ""
    file.write_text(topology.without_firewall(text))
    assert rules.table(load(file, check_files=False).config) == ""


def test_a_psk_is_in_no_representation() -> None:
    assert "secret words" not in repr(DcIpsec("secret words"))
