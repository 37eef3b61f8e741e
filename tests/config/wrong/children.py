"""``[peers.NAME.children.NAME]``: key by key as in docs/configuration.md."""

from tests.config.wrong.mistakes import Changes, wrong

G, C, T = "peers.dc.children.gre", "peers.dc.children.tcp", "tunnels.gre1"
TRANSPORT: Changes = {
    f"{G}.mode": '"transport"', f"{G}.local_ts": None, f"{G}.remote_ts": None,
    f"{T}.local": '"10.1.1.246"', f"{T}.remote": '"177.54.214.20"',
}  # fmt: skip
INTERFACE: Changes = {
    f"{G}.mode": '"interface"', f"{G}.if_id": "7", f"{G}.interface": '"ipsec1"',
    f"{G}.local_ts": None, f"{G}.remote_ts": None,
}  # fmt: skip
STRAIGHT: Changes = {
    **INTERFACE, f"{G}.interface": None, f"{T}.encapsulation": '"none"', f"{T}.local": None, f"{T}.remote": None,
    "tunnels.gre1.keepalive": None,
}  # fmt: skip


def more(**keys: str) -> Changes:
    """One more child."""
    own = {"local_ts": '"10.46.0.0/24"', "remote_ts": '"100.16.0.0/24"', "proposals": '["aes256gcm16"]', **keys}
    return {f"peers.dc.children.more.{key}": value for key, value in own.items()}


WRONG = (
    wrong(f"{G}.local_ts", "it is missing", also={f"{G}.local_ts": None}),
    wrong(f"{G}.proposals[0]", "camellia256ctr: the kernel's ESP does not have it", '["camellia256ctr-sha256"]'),
    wrong(f"{G}.proposals[1]", "camellia128ccm16: the kernel's ESP", '["aes256gcm16", "camellia128ccm16"]'),
    wrong(f"{G}.proposals[0]", "camelliaxcbc: the kernel's ESP", '["aes256-camelliaxcbc"]'),
    wrong(f"{G}.remote_ts", "it is missing", also={f"{G}.remote_ts": None}),
    wrong(f"{G}.local_ts", "no IPv4 prefix", '"10.44.6.1/33"'),
    wrong(f"{G}.local_ts", "no IPv4 prefix", '"any"'),
    wrong(f"{G}.local_ts", "it is an array", '["10.44.6.1/32"]'),
    wrong(f"{C}.remote_ts", "it is the same as local_ts", '"10.45.8.16/28"'),
    wrong(
        f"{C}.remote_ts",
        "takes all that this host sends",
        '"0.0.0.0/0"',
        {f"{C}.local_ts": '"0.0.0.0/0"', f"{C}.snat": None, f"{C}.snat_loopback": None},
    ),
    wrong(
        f"{C}.remote_ts",
        "takes the network 10.1.1.0/24 of eth0",
        '"10.0.0.0/8"',
        {f"{C}.local_ts": '"10.1.1.246/32"', f"{C}.snat": None, f"{C}.snat_loopback": None},
    ),
    wrong(f"{C}.remote_ts", "10.1.1.246 is peers.dc.local, so it is ours", '"10.1.1.246/32"'),
    wrong(f"{C}.remote_ts", "10.44.6.1 is tunnels.gre1.local, so it is ours", '"10.44.6.1/32"'),
    wrong(f"{C}.remote_ts", "never leaves a host", '"127.0.0.0/8"'),
    wrong(f"{C}.snat_from[0]", "is multicast, which is no source", '["239.0.0.0/8"]'),
    wrong(f"{C}.snat_from[0]", "never leaves a host", '["127.0.0.1"]'),
    wrong(f"{G}.proposals", "it is missing", also={f"{G}.proposals": None}),
    wrong(f"{G}.proposals", "it is empty", "[]"),
    wrong(f"{G}.proposals[0]", "no integrity algorithm", '["aes256"]'),
    wrong(f"{G}.proposals[0]", "for IKE only", '["aes256-sha256-prfsha256"]'),
    wrong(f"{G}.proposals[0]", "unknown algorithm 'esp'", '["esp-aes-256 esp-sha-hmac"]'),
    wrong(f"{G}.proposals[0]", "unknown algorithm 'camellia256gcm16'", '["camellia256gcm16"]'),
    wrong(f"{G}.proposals[0]", "no first key exchange", '["aes256-sha256-ke1_mlkem768"]'),
    wrong(f"{G}.proposals[0]", "it is an integer", "[256]"),
    wrong(f"{G}.lifetime", "out of range", "0"),
    wrong(f"{G}.lifetime", "no duration", '"1h30m"'),
    wrong(f"{G}.mode", '"gre"; allowed: "tunnel"', '"gre"'),
    wrong(f"{G}.local_ts", "is not local of the peer", '"10.44.6.1/32"', {f"{G}.mode": '"transport"'}),
    wrong(
        f"{G}.remote_ts",
        "is not remote of the peer",
        '"10.44.7.1/32"',
        {**TRANSPORT, f"{G}.remote_ts": '"10.44.7.1/32"'},
    ),
    wrong(
        f"{T}.local", "transport mode carries nothing else", '"10.44.6.1"', {**TRANSPORT, f"{T}.local": '"10.44.6.1"'}
    ),
    wrong(f"{G}.if_id", "it is missing", also={**INTERFACE, f"{G}.if_id": None}),
    wrong(f"{G}.interface", "it is missing", also={**INTERFACE, f"{G}.interface": None}),
    wrong(f"{G}.interface", "no interface name", '"xfrm/1"', {**INTERFACE, f"{G}.interface": '"xfrm/1"'}),
    wrong(f"{G}.interface", "the name of tunnels.gre1", '"gre1"', {**INTERFACE, f"{G}.interface": '"gre1"'}),
    wrong(f"{G}.interface", "taken by the system", '"lo"', {**INTERFACE, f"{G}.interface": '"lo"'}),
    wrong(f"{T}.remote", "ESP itself would go into", also={**INTERFACE, f"{T}.remote": '"177.54.214.20"'}),
    wrong(f"{G}.mode", "ESP in user space has no such mode", also={**INTERFACE, "daemon.datapath": '"userspace"'}),
    wrong(f"{G}.mode", "ESP in user space has no such mode", also={**TRANSPORT, "daemon.datapath": '"userspace"'}),
    wrong(f"{G}.if_id", 'the mode is "tunnel"', "7"),
    wrong(f"{G}.interface", 'the mode is "tunnel"', '"ipsec1"'),
    wrong(f"{G}.if_id", "out of range", "0", {**INTERFACE, f"{G}.if_id": "0"}),
    wrong(
        "peers.dc.children.more.if_id",
        "gre has it already",
        also={**INTERFACE, **more(mode='"interface"', if_id="7", interface='"ipsec2"')},
    ),
    wrong(f"{T}.key", "part of GRE", "5", {**STRAIGHT, f"{T}.key": "5"}),
    wrong(f"{G}.local_ts", "contains no multicast", '"10.0.0.0/8"', {**STRAIGHT, f"{G}.local_ts": '"10.0.0.0/8"'}),
    wrong(f"{T}.encapsulation", "multicast needs an interface", '"none"'),
    wrong(f"{G}.protocol", '"udp"; allowed: "any" or "gre"', '"udp"'),
    wrong(f"{G}.replay_window", "out of range", "5000"),
    wrong(f"{G}.replay_window", "it is a boolean", "false"),
    wrong(f"{C}.snat", "outside local_ts", '"10.45.9.1"'),
    wrong(f"{C}.snat", "no address of a host", '"239.1.1.1"'),
    wrong(f"{C}.snat_from", "there is no snat", '["192.168.0.0/16"]', {f"{C}.snat": None, f"{C}.snat_loopback": None}),
    wrong(f"{C}.snat_loopback", "there is no snat", also={f"{C}.snat": None}),
    wrong(f"{C}.mss", "out of range", "70000"),
    wrong(f"{C}.mss", "it is a string", '"1382"'),
    wrong(
        "peers.dc.children.more",
        "the same traffic selectors as tcp",
        also=more(local_ts='"10.45.8.16/28"', remote_ts='"100.15.30.0/24"'),
    ),
    wrong("peers.dc.children.more.pfs", "no such key", "true", more(pfs="true")),
)
