import subprocess
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

from mcastd.config.model import Config, Keepalive, UpstreamProtocol
from mcastd.config.strongswan_conf import Section, parse
from mcastd.net.gre import GreOptions
from mcastd.tools.peerconfig import linux
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


def connection(config: Config) -> Section:
    return parse(linux.swanctl_conf(config)).sections["connections"].sections["dc-tun"]


def child(config: Config, name: str = "dc-tun-gre") -> dict[str, str]:
    values = connection(config).sections["children"].sections[name].values
    return {key: value.text for key, value in values.items()}


def test_the_connection_is_the_mirror_image() -> None:
    found = connection(example())
    values = {key: value.text for key, value in found.values.items()}
    assert values["local_addrs"] == "177.54.214.20"
    assert values["remote_addrs"] == "222.45.67.1"
    assert values["proposals"] == "aes256-sha256-modp2048"
    assert found.sections["local"].values["id"].text == "177.54.214.20"
    assert found.sections["remote"].values["id"].text == "222.45.67.1"
    assert child(example())["local_ts"] == "10.44.7.1/32"
    assert child(example(), "dc-tun-tcp")["remote_ts"] == "10.45.8.16/28"


def test_it_waits_and_rekeys_later_than_mcastd_but_within_the_lifetime() -> None:
    found = child(example())
    assert "start_action" not in found
    assert 0.9 * 3600 < int(found["rekey_time"].rstrip("s")) < int(found["life_time"].rstrip("s")) == 3600
    ike = {key: value.text for key, value in connection(example()).values.items()}
    assert int(ike["rekey_time"].rstrip("s")) + int(ike["over_time"].rstrip("s")) == 4 * 3600
    assert connection(with_peer(example(), version=1)).values["rekey_time"].text == "0s"


def test_the_key_is_not_in_it_and_identities_are_quoted() -> None:
    config = with_peer(example(), remote_id='C=CH, CN="moon#1"')
    secret = parse(linux.swanctl_conf(config)).sections["secrets"].sections["ike-dc-tun"].values
    assert secret["secret"].text == "<PSK>"
    assert secret["id-1"].text == 'C=CH, CN="moon#1"'
    by_certificate = with_peer(example(), psk_file=None, local_cert=Path("c"), local_key=Path("k"))
    assert "<PSK>" not in linux.swanctl_conf(by_certificate).partition("connections")[2]


def test_transport_mode_leaves_the_selectors_to_the_addresses() -> None:
    found = child(transport())
    assert (found["mode"], found["local_ts"], found["remote_ts"]) == ("transport", "dynamic[gre]", "dynamic[gre]")
    assert "local 177.54.214.20 remote 222.45.67.1" in linux.commands(transport())
    assert "dev lo" not in linux.commands(transport())


def test_an_xfrm_interface_is_made_and_bound() -> None:
    found = child(route_based(gre=True))
    assert (found["mode"], found["if_id_in"], found["if_id_out"]) == ("tunnel", "7", "7")
    script = linux.commands(route_based(gre=True), outside="eth0").splitlines()
    assert "ip link add ipsec7 type xfrm dev eth0 if_id 7" in script
    assert "ip route add 10.44.6.1/32 dev ipsec7" in script
    assert "ip link add gre1 type gre local 10.44.7.1 remote 10.44.6.1 ttl 255" in script
    without = linux.commands(route_based(gre=False), outside="eth0").splitlines()
    assert "ip link add gre1 type xfrm dev eth0 if_id 7" in without
    assert "ip address add 10.44.4.5/30 dev gre1" in without
    assert not any("type gre" in line for line in without)


def test_the_script_is_one_for_a_shell() -> None:
    config = with_tunnel(
        example(),
        gre=GreOptions(40, checksum=True, sequence=True),
        keepalive=Keepalive(period=5.0),
        address=IPv4Interface("10.44.4.6/32"),
    )
    script = linux.commands(config, outside="eth0")
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    assert "ip link add gre1 type gre local 10.44.7.1 remote 10.44.6.1 ttl 255 key 40 csum seq" in script
    assert "ip address add 10.44.4.5 peer 10.44.4.6 dev gre1" in script
    assert "net.ipv4.conf.gre1.accept_local=1" in script
    assert "accept_local" not in linux.commands(example())


def test_pim_is_spoken_on_the_tunnel_and_towards_the_sources() -> None:
    assert linux.frr_conf(example(), inside="lan0").splitlines()[1:] == [
        "ip pim rp 100.15.30.253 239.0.0.0/8",
        "interface gre1",
        " ip pim",
        "interface lan0",
        " ip pim",
    ]
    config = with_pim(example(), ssm_ranges=(IPv4Network("232.1.0.0/16"),))
    assert "ip prefix-list mcastd-ssm permit 232.1.0.0/16 le 32" in linux.frr_conf(config)


BOTH: tuple[UpstreamProtocol | None, ...] = ("igmp", None)


def test_without_pim_groups_are_joined_by_igmp_or_forwarded_unasked() -> None:
    igmp, none = (linux.frr_conf(without_pim(upstream), inside="lan0") for upstream in BOTH)
    assert igmp.splitlines()[1:] == ["interface lan0", " ip pim", "interface gre1", " ip pim", " ip igmp"]
    assert none.splitlines()[3:] == [
        "! nothing is joined on gre1: forward its groups to it by static routes (ip mroute)"
    ]


def test_gre_only_selectors() -> None:
    assert child(with_child(example(), protocol="gre"))["local_ts"] == "10.44.7.1/32[gre]"


def test_the_commands_go_on_where_there_is_no_ipv6() -> None:
    (line,) = [line for line in linux.commands(example()).splitlines() if linux.WITHOUT_IPV6 in line]
    guard, command = line.split(" || ")
    assert command == "ip link set gre1 addrgenmode none"
    there = subprocess.run(["sh", "-ec", f"{guard} || echo IPv6"], capture_output=True, text=True, check=True).stdout
    assert bool(there) == Path("/proc/sys/net/ipv6").exists()
