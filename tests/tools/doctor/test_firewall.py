"""What is read of the listings of nft and iptables-legacy, and which of it may have dropped something."""

from ipaddress import IPv4Address, IPv4Network

from mcastd.tools.doctor.firewall import Rule, described, naming, risen, rules, suspected, traced, translating

NFT = """\
table ip somebody { # handle 1
\tset bad { # handle 9
\t\ttype ipv4_addr
\t}

\tchain there { # handle 1
\t\ttype filter hook input priority filter - 10; policy drop;
\t\tip protocol gre counter packets 7 bytes 90 drop comment "do not jump" # handle 3
\t\tudp dport 500 drop # handle 4
\t\tudp dport 4500 accept comment "never drop" # handle 5
\t\tct state vmap { invalid : drop, established : accept } # handle 6
\t\tjump x # handle 7
\t}

\tchain x { # handle 2
\t\tip saddr 1.2.3.4 counter packets 2 bytes 80 reject with icmp host-prohibited # handle 8
\t}

\tchain unused { # handle 3
\t\tdrop # handle 10
\t}
}
table ip filter { # handle 2
\tchain INPUT { # handle 1
\t\ttype filter hook input priority filter; policy drop;
\t\tmeta l4proto gre counter packets 0 bytes 0 drop # handle 2
\t\tcounter packets 9 bytes 0 jump ufw-user # handle 4
\t}

\tchain FORWARD { # handle 5
\t\ttype filter hook forward priority filter; policy drop;
\t\tcounter packets 9 bytes 0 jump DOCKER-USER # handle 6
\t}

\tchain ufw-user { # handle 3
\t\tlimit rate 3/minute counter packets 1 bytes 5 xt target "REJECT" # handle 5
\t}
}
table ip nat { # handle 3
\tchain POSTROUTING { # handle 1
\t\ttype nat hook postrouting priority srcnat; policy accept;
\t\toifname "eth0" counter packets 3 bytes 0 masquerade # handle 2
\t}
}
table inet firewalld { # handle 4
\tchain filter_INPUT { # handle 1
\t\ttype filter hook input priority filter + 10; policy accept;
\t\treject with icmpx admin-prohibited # handle 2
\t}
}
table ip mcastd { # handle 5
\tchain input { # handle 1
\t\ttype filter hook input priority filter; policy drop;
\t\tcounter packets 3 bytes 0 drop # handle 2
\t}
}
"""
LEGACY = """\
*filter
:INPUT DROP [5:400]
:FORWARD ACCEPT [0:0]
:mine - [0:0]
[4:50] -A INPUT -i eth0 -m comment --comment "DROP it" -j mine
[3:40] -A mine -p gre -j DROP
[3:40] -A mine -j LOG --log-prefix "drop "
COMMIT
*nat
:POSTROUTING ACCEPT [0:0]
[0:0] -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
COMMIT
"""


def test_each_rule_that_drops_with_its_owner_and_where_packets_come_from() -> None:
    found = [(one.owner, one.place, *one.hooks, one.text, one.packets) for one in rules(NFT) if not one.translates]
    assert found == [
        ("nft", "ip somebody there", "input", "", None),
        ("nft", "ip somebody there", "input", 'ip protocol gre drop comment "do not jump"', 7),
        ("nft", "ip somebody there", "input", "udp dport 500 drop", None),
        ("nft", "ip somebody there", "input", "ct state vmap { invalid : drop, established : accept }", None),
        ("nft", "ip somebody x", "input", "ip saddr 1.2.3.4 reject with icmp host-prohibited", 2),
        ("ufw", "ip filter INPUT", "input", "", None),
        ("iptables", "ip filter INPUT", "input", "meta l4proto gre drop", 0),
        ("ufw", "ip filter FORWARD", "forward", "", None),
        ("ufw", "ip filter ufw-user", "input", 'limit rate 3/minute xt target "REJECT"', 1),
        ("firewalld", "inet firewalld filter_INPUT", "input", "reject with icmpx admin-prohibited", None),
    ]


def test_each_rule_of_iptables_legacy() -> None:
    found = [(one.owner, one.place, *one.hooks, one.text, one.packets) for one in rules("", LEGACY)]
    assert found == [
        ("iptables-legacy", "legacy filter INPUT", "input", "", 5),
        ("iptables-legacy", "legacy filter mine", "input", "-p gre -j DROP", 3),
        (
            "iptables-legacy",
            "legacy nat POSTROUTING",
            "postrouting",
            "-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
            0,
        ),
    ]


def test_what_translates() -> None:
    assert [(one.place, one.text) for one in rules(NFT) if one.translates] == [
        ("ip nat POSTROUTING", 'oifname "eth0" masquerade')
    ]


def test_what_rose_between_two_listings() -> None:
    before = rules(NFT)
    after = rules(NFT.replace("packets 7", "packets 19").replace("packets 2 ", "packets 1 "))
    counted = {one.text: one.packets for one in risen(before, after) if one.packets is not None and one.packets}
    assert counted == {'ip protocol gre drop comment "do not jump"': 12}
    assert [one.packets for one in risen((), rules("", LEGACY))] == [5, 3, 0]


def test_two_equal_rules_have_counts_of_their_own() -> None:
    one = Rule("nft", "inet a b", frozenset({"input"}), "ip protocol gre drop")
    then = (one._replace(packets=1000), one._replace(packets=0))
    now = (one._replace(packets=1000), one._replace(packets=4))
    assert [rule.packets for rule in risen(then, now)] == [0, 4]


def test_what_may_translate_a_source() -> None:
    ours = [IPv4Network("10.44.6.1/32")]

    def fits(text: str, hook: str = "postrouting") -> bool:
        return translating([Rule("nft", "ip nat x", frozenset({hook}), text, 3, translates=True)], ours) is not None

    assert fits('oifname "eth0" masquerade')
    assert fits("ip saddr 10.44.0.0/16 snat to 1.2.3.4")
    assert fits("-s 10.0.0.0/8 -o eth0 -j MASQUERADE")
    assert not fits("-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE")
    assert not fits("ip saddr 10.44.6.2 masquerade")
    assert not fits("masquerade", "output")
    never = Rule("nft", "ip nat x", frozenset({"postrouting"}), "masquerade", 0, translates=True, total=0)
    assert translating([never], ours) is None


def test_a_rule_that_names_what_it_drops_and_no_other_address_or_interface() -> None:
    peer = IPv4Address("192.0.2.1")

    def drops(text: str, total: int | None = 9, hook: str = "input", interface: str | None = "eth0") -> bool:
        one = Rule("nft", "inet a b", frozenset({hook}), text, 0, total=total)
        return naming([one], ("input",), ("pim", "103"), peer, interface) is not None

    assert drops("meta l4proto pim drop")
    assert drops("-p 103 -j DROP", None)
    assert drops('iifname "eth0" ip protocol 103 ip saddr 192.0.2.0/24 drop')
    assert drops("-i eth+ -p pim -j DROP")
    assert drops("-i eth1 -p pim -j DROP", interface=None)
    assert not drops("-i eth1 -p pim -j DROP")
    assert not drops("ip protocol pim ip saddr 192.0.2.9 drop")
    assert not drops("udp dport 1103 drop")
    assert not drops("ip saddr != 192.0.2.1 ip protocol pim drop")
    assert not drops("! -s 192.0.2.1/32 -p pim -j DROP")
    assert drops('ip protocol pim drop comment "no v1.2.300.4 here"')
    assert not drops("ip protocol pim drop", 0)
    assert not drops("ip protocol pim drop", hook="output")


INPUT = frozenset({"input"})
POLICY = Rule("ufw", "ip filter INPUT", INPUT)
COUNTED = Rule("nft", "inet a b", INPUT, "udp dport 9 drop", 12)
SILENT = Rule("nft", "inet a b", INPUT, "drop")


def test_who_is_suspected() -> None:
    named = "; the rule `udp dport 9 drop` of inet a b (nft: `nft -a list chain inet a b`) dropped 12 meanwhile"
    assert suspected((POLICY, COUNTED), ("input",), 24) == named
    policy = "; the policy of ip filter INPUT (ufw: `ufw status verbose`) may drop them, which is not counted"
    assert suspected((SILENT, POLICY, COUNTED), ("input",), 26) == policy
    assert suspected((COUNTED._replace(packets=0),), ("input",), 1) == ""
    assert suspected((POLICY, COUNTED), ("output",), 1) == ""
    assert suspected((COUNTED._replace(translates=True),), ("input",), 1) == ""
    assert "`iptables-legacy-save -c`" in described(Rule("iptables-legacy", "legacy filter INPUT", INPUT))


TRACE = """\
trace id d0869a84 inet mcastd_doctor prerouting packet: iif "lo" ip saddr 127.0.0.1 ip protocol icmp
trace id d0869a84 inet mcastd_doctor prerouting rule ip protocol icmp meta nftrace set 1 (verdict continue)
trace id d0869a84 inet mcastd_doctor prerouting policy accept \n\
trace id d0869a84 inet a b rule udp dport 9 counter packets 4 bytes 9 drop (verdict drop)
trace id 10869a84 inet a b rule udp dport 9 counter packets 5 bytes 9 drop (verdict drop)
trace id 20869a84 ip filter INPUT policy drop \n\
trace id 30869a84 ip filter INPUT rule ct state established accept (verdict accept)
"""


def test_what_a_trace_has_seen_is_named_before_what_counted_more() -> None:
    found = traced((POLICY, COUNTED, SILENT._replace(packets=999)), TRACE)
    assert [one.traced for one in found] == [1, 2, 0]
    assert suspected(found, ("input",), 24).endswith(" dropped 2 of the packets that were traced")
