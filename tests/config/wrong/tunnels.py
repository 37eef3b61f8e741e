"""``[tunnels.NAME]`` and its keepalives: key by key as in docs/configuration.md."""

from tests.config.wrong.children import more
from tests.config.wrong.mistakes import Changes, wrong

T, K = "tunnels.gre1", "tunnels.gre1.keepalive"
NAMED: Changes = {"groups[0].tunnel": '"gre1"', "groups[1].tunnel": '"gre1"'}


def second(**keys: str) -> Changes:
    """One more tunnel, over a child of its own."""
    own = {"child": '"more"', "local": '"10.46.0.1"', "remote": '"100.16.0.1"', "address": '"10.9.0.1/30"', **keys}
    return {**more(), **NAMED, **{f"tunnels.gre2.{key}": value for key, value in own.items()}}


WRONG = (
    wrong(f"{T}.child", 'there is no child "dc"; allowed: gre, tcp', '"dc"'),
    wrong(f"{T}.child", "it is an array", '["gre"]'),
    wrong(f"{T}.local", "it is missing", also={f"{T}.local": None}),
    wrong(f"{T}.local", "outside local_ts of gre", '"10.44.6.2"'),
    wrong(f"{T}.remote", "it is missing", also={f"{T}.remote": None}),
    wrong(f"{T}.remote", "outside remote_ts of gre", '"10.44.7.2"'),
    wrong(f"{T}.remote", "the same as local", '"10.44.6.1"'),
    wrong(f"{T}.remote", "is not an IPv4 address", '"10.44.7.1/32"'),
    wrong(f"{T}.address", "it is missing", also={f"{T}.address": None}),
    wrong(f"{T}.address", "has no prefix length", '"10.44.4.6"'),
    wrong(f"{T}.address", "network or broadcast address", '"10.44.4.4/30"'),
    wrong(f"{T}.address", "network or broadcast address", '"10.44.4.7/30"'),
    wrong(f"{T}.address", "no address of a host", '"239.1.1.1/24"'),
    wrong(
        f"{T}.address",
        "contains remote, 10.44.7.1",
        '"10.44.7.6/24"',
        {f"{T}.peer_address": None, "tunnels.gre1.pim.neighbor": '"10.44.7.5"'},
    ),
    wrong(
        f"{T}.address",
        "is local of peer dc",
        '"10.1.1.246/30"',
        {f"{T}.peer_address": None, "tunnels.gre1.pim.neighbor": '"10.1.1.245"'},
    ),
    wrong(
        f"{T}.address",
        "is a loopback address",
        '"127.0.0.5/30"',
        {f"{T}.peer_address": None, "tunnels.gre1.pim.neighbor": '"127.0.0.6"'},
    ),
    wrong(f"{T}.peer_address", "our own address", '"10.44.4.6"'),
    wrong(f"{T}.peer_address", "is outside 10.44.4.4/30", '"10.44.4.9"'),
    wrong(f"{T}.peer_address", "network or broadcast address", '"10.44.4.7"'),
    wrong(f"{T}.addresses[0]", "is tunnels.gre1.address already", '["10.44.4.6/30"]'),
    wrong(f"{T}.addresses[0]", "has no prefix length", '["10.8.0.1"]'),
    wrong(f"{T}.addresses", "it is a string", '"10.8.0.1/24"'),
    wrong(f"{T}.rule_from[0]", "multicast, which is no source", '["239.0.0.0/8"]', {f"{T}.route_table": "100"}),
    wrong(f"{T}.routes[0]", "never leaves a host", '["127.0.0.0/8"]'),
    wrong(f"{T}.remote", "10.44.7.1 is peers.dc.local, so it is ours", also={"peers.dc.local": '"10.44.7.1"'}),
    wrong(f"{T}.peer_address", "10.44.4.5 is peers.dc.local, so it is ours", also={"peers.dc.local": '"10.44.4.5"'}),
    wrong(f"{T}.mtu", "does not fit a path of 1500 bytes", "1476"),
    wrong(f"{T}.mtu", "out of range", "400"),
    wrong(f"{T}.mtu", "it is a string", '"1400"'),
    wrong(f"{T}.mtu", "out of range", "9000000"),
    wrong(f"{T}.mtu", "allowed: at most 1376", "1390", {"daemon.datapath": '"userspace"'}),
    wrong(f"{T}.mtu", "allowed: at most 1394", "1398", {f"{T}.key": "7"}),
    wrong(f"{T}.encapsulation", '"ipip"; allowed: "gre" or "none"', '"ipip"'),
    wrong(f"{T}.key", "out of range", "4294967296"),
    wrong(f"{T}.key", "it is a string", '"7"'),
    wrong(f"{T}.checksum", "it is an integer", "1"),
    wrong(f"{T}.sequence", "it is a string", '"on"'),
    wrong(f"{T}.ttl", "out of range", "0"),
    wrong(f"{T}.ttl", "out of range", "256"),
    wrong(f"{T}.routes[0]", "no IPv4 prefix", '["multicast"]'),
    wrong(f"{T}.routes", "it is a string", '"groups"'),
    wrong(f"{T}.routes[1]", "contains 10.44.7.1", '["groups", "10.44.0.0/16"]'),
    wrong(f"{T}.routes[1]", "contains 177.54.214.20", '["groups", "177.0.0.0/8"]'),
    wrong(f"{T}.routes[0]", "contains 10.44.7.1", '["0.0.0.0/0"]'),
    wrong(f"{T}.route_table", "the main table", "254"),
    wrong(f"{T}.route_table", "charon's table", "220"),
    wrong(f"{T}.route_table", "out of range", "0"),
    wrong(f"{T}.rule_from", "there is no route_table", '["10.45.8.16/28"]'),
    wrong(f"{T}.rule_from[0]", "no IPv4 prefix", '["eth1"]', {f"{T}.route_table": "1000"}),
    wrong(f"{T}.rp_filter", '"off"; allowed: "loose", "strict" or "keep"', '"off"'),
    wrong(f"{T}.rp_filter", "it is a boolean", "false"),
    wrong(f"{T}.upstream", "the tunnel has a table pim", '"igmp"'),
    wrong(f"{T}.upstream", "the tunnel has a table pim", '"none"'),
    wrong(
        f"{T}.upstream",
        "there is no table [tunnels.gre1.pim]",
        '"pim"',
        {"tunnels.gre1.pim": None, "tunnels.gre1.pim.rp[0]": None},
    ),
    wrong(f"{T}.upstream", '"static"; allowed: "pim", "igmp" or "none"', '"static"'),
    wrong(f"{T}.follow", "it is a string", '"all"'),
    wrong(f"{T}.follow[0]", "is not within 224.0.0.0/4", '["10.0.0.0/8"]'),
    wrong(f"{T}.follow[0]", "never leaves its link", '["224.0.0.0/24"]'),
    wrong(f"{T}.follow_except", "nothing is followed", '["239.1.0.0/16"]', {f"{T}.follow": "false"}),
    wrong(f"{T}.follow_limit", "out of range", "30000"),
    wrong(f"{T}.linger", "out of range", '"2h"'),
    wrong(f"{T}.tos", "no such key", "7"),
    wrong("tunnels.gre2.address", "overlaps tunnels.gre1.address", '"10.44.4.5/30"', second(address='"10.44.4.5/30"')),
    wrong(
        "tunnels.gre2",
        "the same local, remote and key as",
        also=second(child='"gre"', local='"10.44.6.1"', remote='"10.44.7.1"'),
    ),
    wrong("groups[0].tunnel", "it is missing", also={**second(), "groups[0].tunnel": None}),
    wrong(
        "tunnels.gre-with-16-char",
        "up to 15 letters",
        also={**NAMED, "tunnels.gre-with-16-char.address": '"10.9.0.1/30"'},
    ),
    wrong('tunnels."gre/1"', "no interface name", also={**NAMED, 'tunnels."gre/1".address': '"10.9.0.1/30"'}),
    wrong("tunnels.gre0", "taken by the system", also={**NAMED, "tunnels.gre0.address": '"10.9.0.1/30"'}),
    wrong(f"{K}.reply", "it is a string", '"yes"'),
    wrong(f"{K}.max_per_second", "out of range", "0"),
    wrong(f"{K}.inner_addresses[0]", "is not an IPv4 address", '["gre1"]'),
    wrong(f"{K}.period", "no duration", '"10"'),
    wrong(f"{K}.period", "out of range", '"1d"'),
    wrong(f"{K}.retries", "out of range", "0"),
)
