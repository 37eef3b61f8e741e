from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import pytest
from msgspec.structs import replace

from mcastd.config.load import load
from mcastd.config.model import Config, Keepalive
from mcastd.tools.params.rows import tables

EXAMPLE = Path(__file__).parents[3] / "etc" / "mcastd.toml"

# The article's table, as the two sides would have mailed it: what is ours, what is theirs.
AGREED = {
    ("IPsec peer dc-tun (phase 1)", "Public peer address"): ("222.45.67.1", "177.54.214.20"),
    ("IPsec peer dc-tun (phase 1)", "IKE identity"): ("222.45.67.1", "177.54.214.20"),
    ("IPsec peer dc-tun (phase 1)", "IKE version"): ("IKEv2", "same"),
    ("IPsec peer dc-tun (phase 1)", "Authentication"): ("pre-shared key", "same"),
    ("IPsec peer dc-tun (phase 1)", "IKE algorithms (phase 1)"): ("aes256-sha256-modp2048", "same"),
    ("IPsec peer dc-tun (phase 1)", "Other algorithms"): ("strict", "same"),
    ("IPsec peer dc-tun (phase 1)", "IKE SA lifetime"): ("4h", "same"),
    ("CHILD_SA dc-tun-gre (phase 2)", "Interesting traffic"): ("10.44.6.1/32", "10.44.7.1/32"),
    ("CHILD_SA dc-tun-gre (phase 2)", "ESP algorithms (phase 2)"): ("aes256-sha256-modp2048", "same"),
    ("CHILD_SA dc-tun-gre (phase 2)", "PFS"): ("modp2048 (group 14)", "same"),
    ("CHILD_SA dc-tun-gre (phase 2)", "Mode"): ("tunnel", "same"),
    ("CHILD_SA dc-tun-gre (phase 2)", "ESP SA lifetime"): ("1h", "same"),
    ("CHILD_SA dc-tun-tcp (phase 2)", "Interesting traffic"): ("10.45.8.16/28", "100.15.30.0/24"),
    ("CHILD_SA dc-tun-tcp (phase 2)", "Source address of what we send"): ("10.45.8.17", ""),
    ("Tunnel gre1", "GRE endpoint"): ("10.44.6.1", "10.44.7.1"),
    ("Tunnel gre1", "Tunnel address"): ("10.44.4.6/30", "10.44.4.5/30"),
    ("Tunnel gre1", "Tunnel MTU"): ("1398", "ip mtu 1398"),
    ("Tunnel gre1", "GRE keepalives of yours"): ("answered", "every 10 s, 3 retries"),
    ("Multicast on gre1", "PIM sparse mode, neighbour"): ("10.44.4.6", "10.44.4.5"),
    ("Multicast on gre1", "Rendezvous point"): ("", "100.15.30.253 for 239.0.0.0/8"),
    ("Multicast on gre1", "SSM ranges"): ("232.0.0.0/8", "same"),
    ("Multicast on gre1", "Groups"): ("239.1.1.1", "forwarded"),
}


@pytest.fixture(scope="module")
def config() -> Config:
    return load(EXAMPLE, check_files=False).config


def cells(config: Config) -> dict[tuple[str, str], tuple[str, str]]:
    return {(table.title, row.name): (row.ours, row.theirs) for table in tables(config) for row in table.rows}


@pytest.mark.parametrize("key", AGREED)
def test_the_example_gives_back_the_articles_table(config: Config, key: tuple[str, str]) -> None:
    ours, theirs = cells(config)[key]
    assert AGREED[key][0] in ours
    assert AGREED[key][1] in theirs
    assert bool(AGREED[key][0]) == bool(ours)


def test_without_pim_groups_are_joined_by_igmp_or_sent_unasked(config: Config) -> None:
    tunnel = replace(config.tunnels[0], pim=None)
    unasked, by_igmp = (cells(replace(config, tunnels=(replace(tunnel, upstream=one),))) for one in ("none", "igmp"))
    assert unasked["Multicast on gre1", "Groups"] == ("239.1.1.1", "sent unasked")
    assert by_igmp["Multicast on gre1", "Groups"] == ("239.1.1.1", "forwarded when joined")
    assert by_igmp["Multicast on gre1", "IGMP, version 3"][1].startswith("querier")
    for_unicast = cells(replace(config, tunnels=(tunnel,), groups=()))
    assert not [title for title, _ in for_unicast if title == "Multicast on gre1"]


def test_the_nat_is_told(config: Config) -> None:
    ours, _ = cells(config)["IPsec peer dc-tun (phase 1)", "Public peer address"]
    assert ours == "222.45.67.1 (NAT 1:1, the host has 10.1.1.246)"


def test_where_the_key_is_kept_is_not_told(config: Config) -> None:
    assert config.peers[0].psk_file is not None
    assert str(config.peers[0].psk_file) not in str(tables(config))


def test_in_transport_mode_our_ends_are_the_public_address(config: Config) -> None:
    peer = config.peers[0]
    ends = {"local_ts": IPv4Network(peer.local), "remote_ts": IPv4Network(peer.remote)}
    child = replace(peer.children[0], mode="transport", protocol="gre", **ends)
    tunnel = replace(config.tunnels[0], local=peer.local, remote=peer.remote)
    found = cells(replace(config, peers=(replace(peer, children=(child,)),), tunnels=(tunnel,)))
    assert found["CHILD_SA dc-tun-gre (phase 2)", "Interesting traffic"] == ("222.45.67.1/32", "177.54.214.20/32")
    assert found["CHILD_SA dc-tun-gre (phase 2)", "Protocol"] == ("GRE only", "same")
    assert found["Tunnel gre1", "GRE endpoint"] == ("222.45.67.1", "177.54.214.20")
    assert found["Tunnel gre1", "Tunnel MTU"][0] == "1418"


def test_an_address_that_the_file_does_not_tell_is_to_be_filled_in(config: Config) -> None:
    tunnel = replace(
        config.tunnels[0], address=IPv4Interface("10.44.4.6/29"), peer_address=None, pim=None, keepalive=Keepalive()
    )
    found = cells(replace(config, tunnels=(tunnel,), groups=()))
    assert found["Tunnel gre1", "Tunnel address"] == ("10.44.4.6/29", "to be filled in")


def test_keepalives_of_ours_are_told(config: Config) -> None:
    tunnel = replace(config.tunnels[0], keepalive=Keepalive(reply=False, period=5.0, retries=4))
    found = cells(replace(config, tunnels=(tunnel,)))
    assert found["Tunnel gre1", "GRE keepalives of ours"] == ("every 5s, 4 retries", "answered")
    assert found["Tunnel gre1", "GRE keepalives of yours"][0] == "not answered"


def test_auto_rp_is_a_row_if_it_is_used(config: Config) -> None:
    assert ("Multicast on gre1", "Auto-RP") not in cells(config)
    pim = config.tunnels[0].pim
    assert pim is not None
    tunnel = replace(config.tunnels[0], pim=replace(pim, auto_rp=True))
    assert cells(replace(config, tunnels=(tunnel,)))["Multicast on gre1", "Auto-RP"] == ("received", "sent")


def test_sources_go_with_their_group(config: Config) -> None:
    group = replace(config.groups[0], sources=(IPv4Address("100.15.30.10"),))
    found = cells(replace(config, groups=(group,)))
    assert found["Multicast on gre1", "Groups"][0] == "239.1.1.1 from 100.15.30.10"


def test_a_tunnel_without_groups_says_that_none_are_configured(config: Config) -> None:
    found = cells(replace(config, groups=()))
    assert found["Multicast on gre1", "Groups"][0] == "no groups are configured"


def test_groups_that_follow_one_another_are_a_range(config: Config) -> None:
    addresses = [IPv4Address(f"239.1.1.{last}") for last in (9, 1, 2, 3)]
    groups = tuple(replace(config.groups[0], group=one) for one in addresses)
    one = replace(config.groups[0], group=IPv4Address("232.1.1.1"), sources=(IPv4Address("100.15.30.10"),))
    found = cells(replace(config, groups=(*groups, one)))
    said = "239.1.1.1-239.1.1.3, 239.1.1.9; 232.1.1.1 from 100.15.30.10"
    assert found["Multicast on gre1", "Groups"][0] == said
