"""The table that a configuration makes: its text for the article's file, and what holds for every file."""

import re
import subprocess
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcastd.config.load import load
from mcastd.config.model import Child, Config, Daemon, Firewall, Peer, Pim, Tunnel
from mcastd.firewall import rules
from mcastd.net import nflog
from mcastd.net.gre import GreOptions
from tests.namespaces import Namespace

ARTICLE = Path(__file__).parents[2] / "etc" / "mcastd.toml"
CBC = ("aes256-sha256-modp2048",)
GRE = "ip saddr 10.44.6.1 ip daddr 10.44.7.1 ip protocol 47"
SYN = "tcp flags & syn == syn tcp option maxseg size > 1382 counter name"
CLEAR = 'rt ipsec missing oifname != { "lo", "ipsec0", "gre1" } counter name'
FIRST = "ct direction original ct original ip saddr"
PEER = "ip daddr 177.54.214.20"
CARRIES_SAS = [f"{PEER} udp dport {{ 500, 4500 }}", f"{PEER} udp sport {{ 500, 4500 }}", f"{PEER} ip protocol 50"]


def child(name: str = "c", **changes: Any) -> Child:
    values: dict[str, Any] = {
        "name": name,
        "local_ts": IPv4Network("10.44.6.1/32"),
        "remote_ts": IPv4Network("10.44.7.1/32"),
        "proposals": CBC,
    }
    return Child(**values | changes)


def tunnel(name: str = "gre1", **changes: Any) -> Tunnel:
    values: dict[str, Any] = {
        "name": name,
        "local": IPv4Address("10.44.6.1"),
        "remote": IPv4Address("10.44.7.1"),
        "address": IPv4Interface("10.44.4.6/30"),
        "child": "c",
    }
    return Tunnel(**values | changes)


def config(*children: Child, tunnels: tuple[Tunnel, ...] = (), guard: bool = True, **changes: Any) -> Config:
    peer = Peer(
        name="p",
        local=IPv4Address("10.1.1.246"),
        remote=IPv4Address("177.54.214.20"),
        local_id="a",
        remote_id="b",
        proposals=CBC,
        children=children,
    )
    return Config(firewall=Firewall(guard=guard), peers=(peer,), tunnels=tunnels, **changes)


def chain(text: str, name: str) -> list[str]:
    """The rules of one chain; none where there is no such chain."""
    found = re.search(rf"\n\tchain {name} \{{\n\t\ttype [^\n]*\n(.*?)\n\t\}}", text, re.DOTALL)
    return [line.strip() for line in found[1].splitlines()] if found else []


def test_the_articles_file() -> None:
    text = rules.table(load(ARTICLE, check_files=False).config)
    assert chain(text, "nat") == [
        "ip daddr 100.15.30.0/24 ip saddr != 10.45.8.16/28 snat to 10.45.8.17",
        "ip saddr 10.44.6.1/32 ip daddr 10.44.7.1/32 snat to ip saddr",
        "ip saddr 10.45.8.16/28 ip daddr 100.15.30.0/24 snat to ip saddr",
    ]
    assert "type nat hook postrouting priority srcnat - 10;" in text
    assert chain(text, "arriving") == [
        f"ip saddr 10.44.7.1/32 ip daddr 10.44.6.1/32 {SYN} mss-dc-tun-gre tcp option maxseg size set 1382",
        f"ip saddr 100.15.30.0/24 ip daddr 10.45.8.16/28 {SYN} mss-dc-tun-tcp tcp option maxseg size set 1382",
    ]
    assert chain(text, "input") == [
        'ip saddr 10.44.7.1 ip protocol 47 meta ipsec missing iifname != "ipsec0" counter name leak-in-10.44.7.1 drop'
    ]
    assert chain(text, "leaving") == [
        "ip saddr 10.45.8.17 ip daddr 100.15.30.0/24 ct status snat counter name snat-dc-tun-tcp",
        f"ip saddr 10.44.6.1/32 ip daddr 10.44.7.1/32 {SYN} mss-dc-tun-gre tcp option maxseg size set 1382",
        f"ip saddr 10.45.8.16/28 ip daddr 100.15.30.0/24 {SYN} mss-dc-tun-tcp tcp option maxseg size set 1382",
        f"{GRE} @th,0,32 0x00000800 @th,104,8 2 counter name igmp-gre1 drop",
        'ip daddr 10.44.7.1 ip protocol 47 rt ipsec missing oifname != "ipsec0" counter name leak-out-10.44.7.1 drop',
        f"ip daddr 10.44.7.1/32 ip saddr 10.44.6.1/32 {CLEAR} leak-child-dc-tun-gre drop",
        f"ip daddr 10.44.7.1/32 {FIRST} 10.44.6.1/32 {CLEAR} leak-child-dc-tun-gre drop",
        f"ip daddr 100.15.30.0/24 ip saddr 10.45.8.16/28 {CLEAR} leak-child-dc-tun-tcp drop",
        f"ip daddr 100.15.30.0/24 {FIRST} 10.45.8.16/28 {CLEAR} leak-child-dc-tun-tcp drop",
        f"ip daddr 100.15.30.0/24 {FIRST} != 10.45.8.16/28 {CLEAR} leak-child-dc-tun-tcp drop",
        "ip daddr 100.15.30.0/24 ct state invalid,untracked ip saddr != 10.45.8.16/28 "
        f"{CLEAR} leak-invalid-dc-tun-tcp drop",
    ]


def test_the_articles_own_rule_for_gre_is_the_same_on_the_child_that_carries_it() -> None:
    text = rules.table(config(child(snat=IPv4Address("10.44.6.1"))))
    assert chain(text, "nat") == [
        "ip daddr 10.44.7.1/32 ip saddr != 10.44.6.1/32 snat to 10.44.6.1",
        "ip saddr 10.44.6.1/32 ip daddr 10.44.7.1/32 snat to ip saddr",
    ]
    only_gre = rules.table(config(child(snat=IPv4Address("10.44.6.1"), protocol="gre")))
    assert chain(only_gre, "nat") == [
        "ip daddr 10.44.7.1/32 ip saddr != 10.44.6.1/32 ip protocol 47 snat to 10.44.6.1",
        "ip saddr 10.44.6.1/32 ip daddr 10.44.7.1/32 ip protocol 47 snat to ip saddr",
    ]


def test_in_transport_mode_only_a_policy_tells() -> None:
    ends: dict[str, Any] = {"local": IPv4Address("10.1.1.246"), "remote": IPv4Address("177.54.214.20")}
    text = rules.table(config(child(mode="transport", protocol="gre"), tunnels=(tunnel(**ends),)))
    assert chain(text, "input") == [
        "ip saddr 177.54.214.20 ip protocol 47 meta ipsec missing counter name leak-in-177.54.214.20 drop"
    ]
    assert chain(text, "leaving") == [
        "ip daddr 177.54.214.20 ip protocol 47 rt ipsec missing counter name leak-out-177.54.214.20 drop",
        "ip daddr 10.44.7.1/32 ip saddr 10.44.6.1/32 ip protocol 47 rt ipsec missing "
        'oifname != { "lo", "gre1" } counter name leak-child-c drop',
    ]


def test_an_xfrm_interface_tells_by_its_name() -> None:
    text = rules.table(config(child(mode="interface", interface="xfrm7", mss=0), tunnels=(tunnel(),)))
    assert chain(text, "input") == [
        'ip saddr 10.44.7.1 ip protocol 47 meta ipsec missing iifname != "xfrm7" counter name leak-in-10.44.7.1 drop'
    ]
    assert 'oifname != "xfrm7"' in chain(text, "leaving")[0]
    assert "ipsec0" not in text


DATA: dict[str, Any] = {"local_ts": IPv4Network("10.45.8.16/28"), "remote_ts": IPv4Network("100.15.30.0/24"), "mss": 0}


def leaving(*children: Child, **changes: Any) -> list[str]:
    return chain(rules.table(config(*children, **changes)), "leaving")


def test_a_child_is_guarded_by_the_sources_of_packets_and_of_their_connections() -> None:
    clear = 'rt ipsec missing oifname != { "lo", "ipsec0" } counter name leak-child-c drop'
    assert leaving(child(**DATA)) == [
        f"ip daddr 100.15.30.0/24 ip saddr 10.45.8.16/28 {clear}",
        f"ip daddr 100.15.30.0/24 {FIRST} 10.45.8.16/28 {clear}",
    ]
    assert leaving(child(**DATA), guard=False) == []
    only_gre = leaving(child(**DATA, protocol="gre"))
    assert only_gre == [f"ip daddr 100.15.30.0/24 ip saddr 10.45.8.16/28 ip protocol 47 {clear}"]
    chosen = leaving(child(**DATA, snat=IPv4Address("10.45.8.17"), snat_from=(IPv4Network("192.168.0.0/16"),)))
    assert chosen[3] == f"ip daddr 100.15.30.0/24 {FIRST} 192.168.0.0/16 {clear}"
    invalid = clear.replace("leak-child-c", "leak-invalid-c")
    assert chosen[4] == f"ip daddr 100.15.30.0/24 ct state invalid,untracked ip saddr 192.168.0.0/16 {invalid}"


def test_the_peer_is_exempt_unless_a_child_is_for_its_address_alone() -> None:
    around = DATA | {"remote_ts": IPv4Network("177.54.0.0/16")}
    exempt = [f"{match} accept" for match in (*CARRIES_SAS, PEER)]
    natted = rules.table(config(child(**around, snat=IPv4Address("10.45.8.17"))))
    assert chain(natted, "nat")[:4] == exempt
    assert chain(natted, "leaving")[1:5] == exempt
    ends: dict[str, Any] = {"local_ts": IPv4Network("10.1.1.246"), "remote_ts": IPv4Network("177.54.214.20"), "mss": 0}
    between = child("d", mode="transport", **ends)
    found = leaving(child(**around), between)
    assert found[:3] == exempt[:3]
    assert found[3].startswith(f"{PEER}/32 ip saddr 10.1.1.246/32 rt ipsec missing")
    assert found[5] == exempt[3]
    assert found[6].startswith("ip daddr 177.54.0.0/16 ")
    assert not any("accept" in rule for rule in leaving(child(**DATA)))


def test_what_an_xfrm_interface_is_for_is_what_the_routes_say_where_the_selectors_do_not() -> None:
    def guards(local: str, remote: str) -> bool:
        ends: dict[str, Any] = {"local_ts": IPv4Network(local), "remote_ts": IPv4Network(remote)}
        return bool(leaving(child(mode="interface", if_id=7, interface="xfrm7", mss=0, **ends)))

    assert guards("10.45.8.16/28", "100.15.30.0/24")
    assert guards("0.0.0.0/0", "100.15.30.0/24")
    assert not guards("0.0.0.0/0", "0.0.0.0/0")
    assert not guards("10.45.8.16/28", "0.0.0.0/0")
    assert not guards("0.0.0.0/0", "10.0.0.0/8")  # of which this host's own network is a part
    (rule, *_) = leaving(child(mode="interface", if_id=7, interface="xfrm7", **DATA))
    assert 'oifname != { "lo", "xfrm7" }' in rule


def test_what_goes_into_a_tunnel_of_ours_is_not_for_another_child() -> None:
    (rule, *_) = (one for one in leaving(child(), child("d", **DATA), tunnels=(tunnel(),)) if "child-d" in one)
    assert 'oifname != { "lo", "ipsec0", "gre1" }' in rule
    (rule, *_) = (one for one in leaving(child(), tunnels=(tunnel(child=None),)) if "child-c" in one)
    assert "gre1" not in rule


def test_without_gre_there_is_no_guard_and_the_rest_is_bound_to_the_interface() -> None:
    everything = IPv4Network("0.0.0.0/0")
    straight = child(
        mode="interface", if_id=7, local_ts=everything, remote_ts=everything,
        snat=IPv4Address("10.45.8.17"), snat_from=(IPv4Network("192.168.0.0/16"),),
    )  # fmt: skip
    text = rules.table(config(straight, tunnels=(tunnel("dc0", encapsulation="none"),)))
    assert "leak" not in text
    assert chain(text, "nat") == ['oifname "dc0" ip saddr 192.168.0.0/16 snat to 10.45.8.17']
    assert chain(text, "arriving")[0].startswith('iifname "dc0" tcp flags')


def test_gre_without_ipsec_is_left_alone_also_beside_one_that_is_guarded() -> None:
    assert rules.table(config(tunnels=(tunnel(child=None),))) == ""
    plain = tunnel("plain", child=None, local=IPv4Address("10.9.0.1"))
    text = rules.table(config(child(mss=0), tunnels=(tunnel(), plain)))
    assert chain(text, "leaving")[0] == "ip saddr 10.9.0.1 ip daddr 10.44.7.1 ip protocol 47 accept"
    assert chain(text, "input")[0] == "ip daddr 10.9.0.1 ip saddr 10.44.7.1 ip protocol 47 accept"
    same_ends = tunnel("keyed", child=None, gre=GreOptions(5))
    text = rules.table(config(child(mss=0), tunnels=(tunnel(), same_ends)))
    # None of them is for the tunnel without IPsec, nor is its interface one that encrypts.
    assert chain(text, "leaving") == [
        'ip daddr 10.44.7.1 ip protocol 47 rt ipsec missing oifname != "ipsec0" counter name leak-out-10.44.7.1 drop',
        f"ip daddr 10.44.7.1/32 ip saddr 10.44.6.1/32 {CLEAR} leak-child-c drop",
        f"ip daddr 10.44.7.1/32 {FIRST} 10.44.6.1/32 {CLEAR} leak-child-c drop",
    ]
    assert chain(text, "input") == [
        'ip saddr 10.44.7.1 ip protocol 47 meta ipsec missing iifname != "ipsec0" counter name leak-in-10.44.7.1 drop'
    ]


def test_a_tunnel_without_gre_opens_the_guard_for_none() -> None:
    ends = {"local": IPv4Address("10.1.1.246"), "remote": IPv4Address("10.44.7.1")}
    plain = tunnel("ipsec1", child="x", encapsulation="none", **ends)
    text = rules.table(config(child(), child("x", mode="interface", if_id=7), tunnels=(tunnel(), plain)))
    assert "leak-out-10.44.7.1" in text
    assert not any("accept" in rule for name in ("input", "leaving") for rule in chain(text, name))


def test_what_comes_by_the_loopback_is_held_to_the_selectors_of_each_child_whose_packets_may() -> None:
    found = 'iifname "lo" meta ipsec exists '
    gre = child(protocol="gre")
    other = child("x", local_ts=IPv4Network("0.0.0.0/0"), remote_ts=IPv4Network("10.9.0.0/16"))
    bound = child("y", mode="interface", if_id=7)
    text = rules.table(config(gre, other, bound))
    assert chain(text, "replayed") == [
        f"{found}ip saddr {gre.remote_ts} ip daddr {gre.local_ts} ip protocol 47 accept",
        f"{found}ip saddr 10.9.0.0/16 accept",
        f"{found}counter name loopback drop",
    ]
    assert chain(rules.table(config(bound)), "replayed") == []
    assert chain(rules.table(config(gre, guard=False)), "replayed") == []


def test_while_tunnels_leave_their_selectors_hold_as_well() -> None:
    old, new = (config(child(remote_ts=IPv4Network(one))) for one in ("10.1.0.0/16", "10.2.0.0/16"))
    found = " ".join(chain(rules.table(new, leaving=old), "replayed"))
    assert "10.1.0.0/16" in found
    assert "10.2.0.0/16" in found


def test_the_guard_of_tunnels_that_are_leaving_holds_beside_the_new_one() -> None:
    old = config(child(), tunnels=(tunnel(),))
    new = config(child(), tunnels=(tunnel(remote=IPv4Address("10.44.7.2")),))
    text = rules.table(new, leaving=old)
    for name in ("input", "leaving"):
        assert {"10.44.7.1", "10.44.7.2"} <= set(" ".join(chain(text, name)).split())
    assert "leak" in rules.table(config(tunnels=(tunnel(child=None),)), leaving=old)
    assert "leak" not in rules.table(config(child(), tunnels=(tunnel(),), guard=False))


def test_igmp_stays_here_where_pim_is_spoken() -> None:
    def kept(**changes: Any) -> list[str]:
        text = rules.table(config(child(mss=0), tunnels=(tunnel(**{"pim": Pim()} | changes),)))
        return [rule for rule in chain(text, "leaving") if "igmp" in rule]

    assert kept() == [f"{GRE} @th,0,32 0x00000800 @th,104,8 2 counter name igmp-gre1 drop"]
    assert kept(gre=GreOptions(40)) == [f"{GRE} @th,0,32 0x20000800 @th,136,8 2 counter name igmp-gre1 drop"]
    everything = {"gre": GreOptions(40, checksum=True, sequence=True)}
    assert kept(**everything) == [f"{GRE} @th,0,32 0xb0000800 @th,200,8 2 counter name igmp-gre1 drop"]
    logged = f"log group {nflog.group_of('gre1')} "
    rule = 'oifname "gre1" ip protocol 2 ip ttl != 0 counter name igmp-gre1 {}drop'
    assert kept(encapsulation="none") == [rule.format(logged)]
    without_gre = config(child(), tunnels=(tunnel(pim=Pim(), encapsulation="none"),))
    assert rule.format("") in chain(rules.table(without_gre, logs=False), "leaving")
    assert kept(pim=None) == []
    assert kept(pim=None, upstream="igmp") == []
    assert kept(pim=None, upstream="none") == kept()
    loose = config(child(mss=0), tunnels=(tunnel(pim=Pim()),), guard=False)
    assert rules.table(loose) == ""
    assert "igmp-gre1" in rules.table(loose, leaving=config(child(), tunnels=(tunnel(pim=Pim()),)))
    by_pim, by_igmp = (config(child(), tunnels=(tunnel(**one),)) for one in ({"pim": Pim()}, {"upstream": "igmp"}))
    assert "igmp-gre1" not in rules.table(by_igmp, leaving=by_pim)
    assert "igmp-gre1" not in rules.table(by_pim, leaving=by_igmp)


def test_snat_takes_whom_it_is_told_to_and_nobody_who_is_inside_already() -> None:
    network, other = IPv4Network("100.15.30.0/24"), IPv4Network("10.46.0.0/28")
    first = child(local_ts=IPv4Network("10.45.8.16/28"), remote_ts=network, snat=IPv4Address("10.45.8.17"), mss=0)
    second = child("d", local_ts=other, remote_ts=network, mss=0)
    text = rules.table(config(first, second))
    assert chain(text, "nat") == [
        "ip daddr 100.15.30.0/24 ip saddr != { 10.45.8.16/28, 10.46.0.0/28 } snat to 10.45.8.17",
        "ip saddr 10.45.8.16/28 ip daddr 100.15.30.0/24 snat to ip saddr",
        "ip saddr 10.46.0.0/28 ip daddr 100.15.30.0/24 snat to ip saddr",
    ]
    overlapping = (IPv4Network("192.168.0.0/16"), IPv4Network("192.168.5.0/24"), IPv4Network("172.16.0.0/12"))
    text = rules.table(config(child(remote_ts=network, snat=IPv4Address("10.44.6.1"), snat_from=overlapping)))
    assert "ip saddr { 172.16.0.0/12, 192.168.0.0/16 } snat to" in text


def test_the_mss_is_what_fits_with_the_largest_esp_that_may_be_negotiated() -> None:
    def sizes(changed: Child, **changes: Any) -> set[str]:
        return set(re.findall(r"maxseg size set (\d+)", rules.table(config(changed, **changes))))

    assert sizes(child()) == {"1382"}  # 1500 - 20 - 8 - 8 - 16 - 16, in blocks of 16, - 2 - 20 - 20
    assert sizes(child(proposals=("aes256gcm16-modp2048",))) == {"1398"}
    assert sizes(child(proposals=("aes256gcm16-modp2048", *CBC))) == {"1382"}
    assert sizes(child(), daemon=Daemon(datapath="userspace")) == {"1360"}
    assert sizes(child(mss=1200)) == {"1200"}
    assert sizes(child(mss=0)) == set()
    assert sizes(child(protocol="gre")) == set()


def test_counters_begin_with_what_they_are_given() -> None:
    counts = {"leak-in-10.44.7.1": (3, 400), "leak-in-10.99.9.9": (1, 1)}
    text = rules.table(config(child(), tunnels=(tunnel(),)), counts=counts)
    assert "counter leak-in-10.44.7.1 { packets 3 bytes 400 }" in text
    assert "counter leak-out-10.44.7.1 { packets 0 bytes 0 }" in text
    assert "10.99.9.9" not in text


ADDRESSES = st.integers(0x0A000000, 0x0A0000FF).map(IPv4Address)
NETWORKS = st.builds(
    lambda address, length: IPv4Network((int(address), length), strict=False),
    ADDRESSES,
    st.sampled_from((0, 8, 24, 28, 31, 32)),
)
NAMES = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,9}", fullmatch=True)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Children of every mode, and tunnels with and without one, of which several may have the same far endpoint."""
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    children = tuple(
        Child(
            name=name,
            local_ts=draw(NETWORKS),
            remote_ts=draw(NETWORKS),
            proposals=CBC,
            mode=draw(st.sampled_from(("tunnel", "transport", "interface"))),
            protocol=draw(st.sampled_from(("any", "gre"))),
            interface=draw(st.none() | NAMES),
            snat=draw(st.none() | ADDRESSES),
            snat_from=draw(st.lists(NETWORKS, max_size=4).map(tuple)),
            mss=draw(st.none() | st.integers(0, 65495)),
        )
        for name in names
    )
    links = draw(st.lists(NAMES, max_size=4, unique=True))
    tunnels = tuple(
        tunnel(
            name,
            local=draw(ADDRESSES),
            remote=draw(ADDRESSES),
            child=draw(st.none() | st.sampled_from(names)),
            encapsulation=draw(st.sampled_from(("gre", "gre", "none"))),
            gre=GreOptions(draw(st.none() | st.integers(0, 0xFFFFFFFF)), draw(st.booleans())),
            pim=draw(st.none() | st.just(Pim())),
        )
        for name in links
    )
    return config(*children, tunnels=tunnels, guard=draw(st.sampled_from((True, True, False))))


@given(configs())
def test_every_tunnel_with_gre_in_a_child_has_both_guards(found: Config) -> None:
    text = rules.table(found)
    out, into = chain(text, "leaving"), chain(text, "input")
    modes = {child.name: child for peer in found.peers for child in peer.children}
    for one in found.tunnels:
        guarded = found.firewall.guard and one.encapsulation == "gre" and one.child is not None
        drops = [rule for rule in out if rule.startswith(f"ip daddr {one.remote} ip protocol 47 rt ipsec missing")]
        refuses = [rule for rule in into if rule.startswith(f"ip saddr {one.remote} ip protocol 47 meta ipsec missing")]
        if not guarded:
            continue
        (drop,), (refuse,) = drops, refuses
        assert drop.endswith(f"counter name leak-out-{one.remote} drop")
        assert refuse.endswith(f"counter name leak-in-{one.remote} drop")
        carrier = modes[str(one.child)]
        link = {"tunnel": "ipsec0", "transport": None, "interface": carrier.interface}[carrier.mode]
        assert link is None or (f'"{link}"' in drop and f'"{link}"' in refuse)
        # No exception lets the tunnel's own packets past.
        accepted = [rule for rule in out if rule.endswith("accept") and f"ip daddr {one.remote} " in rule]
        assert not any(f"{one.local} " in rule.replace(",", " ").partition("ip daddr")[0] for rule in accepted)


@given(configs())
def test_protocols_are_numbers_so_that_nft_needs_no_etc_protocols(found: Config) -> None:
    assert all(number.isdecimal() for number in re.findall(r"protocol (\S+)", rules.table(found)))


def nft(made: Namespace, *arguments: str) -> list[str]:
    """The command line of nft in a namespace without /etc/protocols, which Debian's package netbase brings."""
    hide = '[ ! -e /etc/protocols ] || mount --bind /dev/null /etc/protocols; exec nft "$@"'
    return ["ip", "netns", "exec", made.name, "sh", "-c", hide, "nft", *arguments]


@pytest.mark.root
def test_nft_accepts_every_table(namespace: Any) -> None:
    made: Namespace = namespace()

    @settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(configs())
    def accepted(found: Config) -> None:
        text = rules.replacement(rules.table(found))
        checked = subprocess.run(nft(made, "-c", "-f", "-"), input=text, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, f"{checked.stderr}\n{text}"

    accepted()


@pytest.mark.root
def test_nft_takes_the_articles_table_and_twice_is_once(namespace: Any) -> None:
    made: Namespace = namespace()
    text = rules.replacement(rules.table(load(ARTICLE, check_files=False).config))
    listed = []
    for _ in range(2):
        for argv in (nft(made, "-f", "-"), nft(made, "list", "ruleset")):
            done = subprocess.run(argv, input=text, capture_output=True, text=True, check=True)
            listed.append(done.stdout)
    assert listed[1] == listed[3]
    assert listed[1].count("table ") == 1
