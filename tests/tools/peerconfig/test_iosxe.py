import re
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mcastd.config.model import Config, Group, Keepalive, RpRange
from mcastd.errors import PeerConfigError
from mcastd.net.gre import GreOptions
from mcastd.tools.peerconfig.ios_syntax import Names, identity, limited, network
from mcastd.tools.peerconfig.iosxe import configuration
from tests.tools.peerconfig.agreed import (
    example,
    route_based,
    transport,
    with_child,
    with_peer,
    with_pim,
    with_tunnel,
    without_pim,
)

WHOLE = Path(__file__).parent / "article.ios-xe"


def lines(config: Config) -> list[str]:
    return configuration(config).splitlines()


def block(config: Config, head: str) -> list[str]:
    """What belongs to one command, without its indentation."""
    found = lines(config)
    start = found.index(head) + 1
    end = next(index for index in range(start, len(found)) if not found[index].startswith(" "))
    return [line.strip() for line in found[start:end]]


def test_the_article_as_a_whole() -> None:
    assert configuration(example(), outside="GigabitEthernet0/0/0", inside="GigabitEthernet0/0/1") == WHOLE.read_text()


def test_what_is_to_be_filled_in_is_listed_at_the_head() -> None:
    text = configuration(example())
    used = set(re.findall(r"<[A-Z-]+>", text))
    assert used == {"<PSK>", "<OUTSIDE-INTERFACE>", "<INSIDE-INTERFACE>", "<NEXT-HOP>"}
    head = text.partition("ip multicast-routing")[0]
    assert set(re.findall(r"<[A-Z-]+>", head)) == used


def test_every_name_that_is_used_is_defined_and_the_other_way_round() -> None:
    for config in (example(), transport(), route_based(gre=True), with_peer(example(), version=1)):
        text = configuration(config)
        for defines, uses in (
            (r"^crypto ikev2 proposal (\S+)$", r"^ proposal (\S+)$"),
            (r"^crypto ikev2 keyring (\S+)$", r"^ keyring local (\S+)$"),
            (r"^crypto ikev2 profile (\S+)$", r"^ set ikev2-profile (\S+)$"),
            (r"^crypto ipsec transform-set (\S+) ", r"^ set transform-set (\S+)$"),
            (r"^crypto ipsec profile (\S+)$", r"^ tunnel protection ipsec profile (\S+)$"),
            (r"^ip access-list extended (\S+)$", r"^ match address (?!local)(\S+)$"),
            (r"^ip access-list standard (\S+)$", r"^ip pim rp-address \S+ (\S+)$"),
            (r"^interface (Loopback\d+)$", r"^ tunnel source (Loopback\d+)$"),
        ):
            assert set(re.findall(defines, text, re.M)) == set(re.findall(uses, text, re.M)), defines


def test_one_crypto_map_entry_for_each_child() -> None:
    entry = block(example(), "crypto map mcastd 20 ipsec-isakmp")
    assert entry[0] == "set peer 222.45.67.1"
    assert entry[-1] == "match address dc-tun-tcp"
    assert block(example(), "ip access-list extended dc-tun-tcp") == [
        "permit ip 100.15.30.0 0.0.0.255 10.45.8.16 0.0.0.15"
    ]


def test_gre_alone_is_selected_where_agreed() -> None:
    config = with_child(example(), protocol="gre")
    assert block(config, "ip access-list extended dc-tun-gre") == ["permit gre host 10.44.7.1 host 10.44.6.1"]


def test_transport_mode_is_between_the_public_addresses() -> None:
    assert block(transport(), "ip access-list extended dc-tun-gre") == [
        "permit gre host 177.54.214.20 host 222.45.67.1"
    ]
    assert block(transport(), "crypto ipsec transform-set dc-tun-gre esp-aes 256 esp-sha256-hmac") == ["mode transport"]
    tunnel = block(transport(), "interface Tunnel100")
    assert "tunnel source <OUTSIDE-INTERFACE>" in tunnel
    assert "tunnel destination 222.45.67.1" in tunnel
    assert "ip mtu 1418" in tunnel
    assert "inner_addresses" not in configuration(transport())
    assert not any("Loopback" in line for line in lines(transport()))
    assert not any(line.startswith("ip route 222.45.67.1") for line in lines(transport()))


def test_transport_mode_behind_an_unknown_nat_needs_its_address_on_both_sides() -> None:
    config = with_peer(transport(), local_id="vm.example.com")
    tunnel = block(config, "interface Tunnel100")
    assert "tunnel destination <PUBLIC-ADDRESS>" in tunnel
    assert "! mcastd answers these if keepalive.inner_addresses of its gre1 has <PUBLIC-ADDRESS>" in tunnel
    assert block(config, "ip access-list extended dc-tun-gre") == [
        "permit gre host 177.54.214.20 host <PUBLIC-ADDRESS>"
    ]
    keepalive = Keepalive(inner_addresses=(IPv4Address("222.45.67.1"),))
    assert "inner_addresses" not in configuration(with_tunnel(config, keepalive=keepalive))


def test_in_tunnel_mode_no_nat_changes_what_is_inside() -> None:
    config = with_child(example(), local_ts=IPv4Network("10.1.1.246/32"))
    config = with_tunnel(config, local=IPv4Address("10.1.1.246"))
    assert block(config, "ip access-list extended dc-tun-gre") == ["permit ip host 10.44.7.1 host 10.1.1.246"]
    assert "tunnel destination 10.1.1.246" in block(config, "interface Tunnel100")


@pytest.mark.parametrize(
    ("packets", "words"),
    [(0, "disable"), (32, "window-size 64"), (300, "window-size 512"), (4096, "window-size 1024")],
)
def test_the_replay_window_is_ours_as_far_as_it_can_be(packets: int, words: str) -> None:
    config = with_child(example(), replay_window=packets)
    assert f"set security-association replay {words}" in block(config, "crypto map mcastd 10 ipsec-isakmp")


@pytest.mark.parametrize(
    ("config", "weak"),
    [
        (example(), False),
        (with_peer(example(), version=1), False),
        (with_peer(example(), proposals=("aes256-sha256-modp2048", "aes256-sha256-modp1024")), True),
        (with_peer(example(), proposals=("3des-sha256-modp2048",)), True),
        (with_peer(example(), version=1, proposals=("aes256-md5-modp2048",)), True),
        (with_child(example(), proposals=("aes256-sha256-modp1536",)), True),
        (with_child(example(), proposals=("null-sha256-modp2048",)), True),
        (with_child(example(), proposals=("aes256-sha256-modp3072",)), False),
    ],
)
def test_what_newer_releases_refuse_is_said_once(config: Config, weak: bool) -> None:
    assert configuration(config).count("crypto engine compliance shield disable") == weak


def test_a_virtual_tunnel_interface_for_some_traffic_has_an_access_list() -> None:
    config = with_child(route_based(gre=True), local_ts=IPv4Network("10.44.6.1/32"))
    tunnel = block(config, "interface Tunnel100")
    assert "tunnel protection ipsec policy ipv4 dc-tun-gre" in tunnel
    assert block(config, "ip access-list extended dc-tun-gre") == ["permit ip any host 10.44.6.1"]
    assert "ipsec policy" not in configuration(route_based(gre=True))


def test_route_based_without_gre_is_a_virtual_tunnel_interface_without_keepalive() -> None:
    tunnel = block(route_based(gre=False), "interface Tunnel100")
    assert "tunnel mode ipsec ipv4" in tunnel
    assert "tunnel protection ipsec profile dc-tun-gre" in tunnel
    assert "ip pim sparse-mode" in tunnel
    assert not any(line.startswith("keepalive") for line in tunnel)
    assert "match address dc-tun-gre" not in configuration(route_based(gre=False))


def test_route_based_with_gre_carries_it_through_that_interface() -> None:
    found = lines(route_based(gre=True))
    assert "tunnel protection ipsec profile dc-tun-gre" in block(route_based(gre=True), "interface Tunnel100")
    gre = block(route_based(gre=True), "interface Tunnel101")
    assert "tunnel destination 10.44.6.1" in gre
    assert not any(line.startswith("keepalive") for line in gre)
    assert "ip route 10.44.6.1 255.255.255.255 Tunnel100" in found


def test_ikev1() -> None:
    config = with_peer(example(), version=1)
    policy = block(config, "crypto isakmp policy 100")
    assert policy == ["encryption aes 256", "hash sha256", "authentication pre-share", "group 14", "lifetime 14400"]
    assert "crypto isakmp key <PSK> address 222.45.67.1" in lines(config)
    assert "crypto isakmp keepalive 30 5 on-demand" in lines(config)
    assert "ikev2" not in configuration(config)


def test_certificates_need_a_trustpoint_and_no_key() -> None:
    config = with_peer(example(), psk_file=None, local_cert=Path("c"), local_key=Path("k"), ca_certs=(Path("ca"),))
    profile = block(config, "crypto ikev2 profile dc-tun")
    assert "authentication remote rsa-sig" in profile
    assert "pki trustpoint <TRUSTPOINT>" in profile
    assert "<PSK>" not in configuration(config)


def test_ikev1_by_the_names_in_certificates() -> None:
    certificates = {"psk_file": None, "local_cert": Path("c"), "local_key": Path("k"), "ca_certs": (Path("ca"),)}
    config = with_peer(example(), version=1, remote_id="C=CH, CN=dc", **certificates)
    assert "crypto isakmp identity dn" in lines(config)
    assert "authentication rsa-sig" in block(config, "crypto isakmp policy 100")
    assert "crypto isakmp key" not in configuration(config)


def test_what_ios_xe_has_not_is_said_and_the_rest_is_used() -> None:
    config = with_peer(example(), proposals=("chacha20poly1305-prfsha256-curve25519", "aes256-sha256-modp2048"))
    assert (
        "! not in IOS XE: chacha20poly1305, so the proposal chacha20poly1305-prfsha256-curve25519 is left out"
        in lines(config)
    )
    assert block(config, "crypto ikev2 proposal dc-tun")[0] == "encryption aes-cbc-256"


def test_a_child_of_whose_proposals_it_has_none_is_refused() -> None:
    with pytest.raises(PeerConfigError, match=r"peers\.dc-tun\.children\.dc-tun-gre\.proposals: .*camellia256-sha256"):
        configuration(with_child(example(), proposals=("camellia256-sha256",)))


def test_several_proposals_and_groups() -> None:
    config = with_child(example(), proposals=("aes256-sha256-modp2048", "aes128gcm16-ecp256"))
    entry = block(config, "crypto map mcastd 10 ipsec-isakmp")
    assert "set transform-set dc-tun-gre dc-tun-gre-2" in entry
    assert "set pfs group14" in entry
    assert "! IOS XE accepts one group for PFS; also agreed: 19" in entry


def test_without_a_group_there_is_no_pfs() -> None:
    config = with_child(example(), proposals=("aes256-sha256",))
    assert not any("pfs" in line for line in block(config, "crypto map mcastd 10 ipsec-isakmp"))


def test_gre_options_and_a_tunnel_network_of_one_address() -> None:
    changes = {"gre": GreOptions(40, checksum=True, sequence=True), "address": IPv4Interface("10.44.4.6/32")}
    config = with_tunnel(example(), **changes)
    tunnel = block(config, "interface Tunnel100")
    assert {"tunnel key 40", "tunnel checksum", "tunnel sequence-datagrams", "ip mtu 1386"} <= set(tunnel)
    assert "ip address 10.44.4.5 255.255.255.255" in tunnel
    assert "ip route 10.44.4.6 255.255.255.255 Tunnel100" in lines(config)


def test_no_keepalive_where_mcastd_would_not_answer() -> None:
    tunnel = block(with_tunnel(example(), keepalive=Keepalive(reply=False)), "interface Tunnel100")
    assert not any(line.startswith("keepalive") for line in tunnel)


def test_without_pim_groups_are_joined_by_igmp_or_forwarded_unasked() -> None:
    group, source = IPv4Address("232.1.1.1"), IPv4Address("100.15.30.10")
    igmp, none = without_pim("igmp"), without_pim(None)
    found = block(igmp, "interface Tunnel100")
    assert "ip pim sparse-mode" in found
    assert "ip igmp version 3" in found
    more = replace(none, groups=(*none.groups, Group(group=group, tunnel="gre1", sources=(source,))))
    found = block(more, "interface Tunnel100")
    assert "ip pim sparse-mode" in found
    assert [line for line in found if "static-group" in line] == [
        "ip igmp static-group 239.1.1.1",
        "ip igmp static-group 232.1.1.1 source 100.15.30.10",
    ]
    assert "ip pim sparse-mode" in block(more, "interface <INSIDE-INTERFACE>")
    assert "ip pim" not in configuration(replace(none, groups=()))


def test_rendezvous_points_and_ranges() -> None:
    points = (
        RpRange(address=IPv4Address("100.15.30.253"), groups=(IPv4Network("239.0.0.0/8"), IPv4Network("225.1.1.1/32"))),
        RpRange(address=IPv4Address("100.15.30.254")),
    )
    config = with_pim(example(), rp=points, ssm_ranges=(IPv4Network("232.1.0.0/16"),), bootstrap=True)
    found = lines(config)
    assert block(config, "ip access-list standard mcastd-rp-1") == [
        "permit 239.0.0.0 0.255.255.255",
        "permit 225.1.1.1",
    ]
    assert "ip pim rp-address 100.15.30.253 mcastd-rp-1 override" in found
    assert "ip pim rp-address 100.15.30.254 override" in found
    assert "ip pim ssm range mcastd-ssm" in found
    assert any("bsr-candidate" in line for line in found)


def test_auto_rp_needs_a_mapping_agent_and_beside_it_the_preferred_rp_overrides() -> None:
    points = (RpRange(address=IPv4Address("100.15.30.254")),)
    for preference, override in (("static", " override"), ("auto_rp", "")):
        found = lines(with_pim(example(), rp=points, auto_rp=True, rp_preference=(preference,)))
        assert f"ip pim rp-address 100.15.30.254{override}" in found
        assert any("send-rp-discovery" in line for line in found)
    assert not any("send-rp-discovery" in line for line in lines(example()))


def test_behind_an_unknown_nat_the_address_is_to_be_filled_in() -> None:
    config = with_peer(example(), local_id="vm.example.com")
    assert "set peer <PUBLIC-ADDRESS>" in block(config, "crypto map mcastd 10 ipsec-isakmp")
    assert "match identity remote fqdn vm.example.com" in block(config, "crypto ikev2 profile dc-tun")


@pytest.mark.parametrize(
    ("who", "remote", "line"),
    [
        ("10.0.0.1", True, " match identity remote address 10.0.0.1 255.255.255.255"),
        ("10.0.0.1", False, " identity local address 10.0.0.1"),
        ("@vpn.example.com", False, " identity local fqdn vpn.example.com"),
        ("fqdn:vpn.example.com", False, " identity local fqdn vpn.example.com"),
        ("me@example.com", True, " match identity remote email me@example.com"),
        ("@#6d65", True, " match identity remote key-id me"),
        ("@#00ff", True, None),
        ("%any", True, " match identity remote any"),
        ("%any", False, None),
        ("C=CH, O=strongSwan, CN=moon", True, None),
    ],
)
def test_identities(who: str, remote: bool, line: str | None) -> None:
    assert identity(who, remote=remote) == line


def test_a_lifetime_out_of_bounds_is_brought_in_and_said() -> None:
    assert list(limited(" lifetime {}", 30 * 86400.0, (120, 86400))) == [
        " lifetime 86400",
        " ! agreed: 2592000; IOS XE accepts 120 to 86400",
    ]


@settings(deadline=None)
@given(st.lists(st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,62}", fullmatch=True), unique=True, max_size=20))
def test_names_are_valid_and_differ(wanted: list[str]) -> None:
    names = Names()
    given_out = [names("child", name) for name in wanted]
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,50}", name) for name in given_out)
    assert len(set(given_out)) == len(wanted)
    assert [names("child", name) for name in wanted] == given_out


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("0.0.0.0/0", "any"),
        ("10.44.6.1/32", "host 10.44.6.1"),
        ("10.45.8.16/28", "10.45.8.16 0.0.0.15"),
    ],
)
def test_networks(prefix: str, words: str) -> None:
    assert network(IPv4Network(prefix)) == words
