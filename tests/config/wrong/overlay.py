"""``[overlay.NAME]``: key by key as in docs/configuration.md, and what the rest of the file makes of it."""

from tests.config.wrong.mistakes import Changes, Wrong, wrong

O = "overlay.vx0"  # noqa: E741
OVERLAY: Changes = {
    f"{O}.vni": "7",
    f"{O}.local": '"10.1.1.246"',
    f"{O}.address": '"10.99.0.1/24"',
    f"{O}.members": '["10.1.2.0/24"]',
}


def more(**keys: str) -> Changes:
    """One more overlay."""
    own = {"vni": "8", "local": '"10.1.1.246"', "address": '"10.98.0.1/24"', "members": '["10.1.3.0/24"]', **keys}
    return {f"overlay.vx1.{key}": value for key, value in own.items()}


def overlay(key: str, said: str, value: str | None = None, also: Changes | None = None) -> Wrong:
    """A mistake in or about an overlay."""
    return wrong(key if "." in key else f"{O}.{key}", said, value, {**OVERLAY, **(also or {})})


def value(key: str, said: str, text: str) -> Wrong:
    """A wrong value of a key."""
    return wrong(f"{O}.{key}", said, also={**OVERLAY, f"{O}.{key.partition('[')[0]}": text})


WRONG = (
    *(wrong(key, "it is missing", also={one: of for one, of in OVERLAY.items() if one != key}) for key in OVERLAY),
    value("vni", "out of range", "16777216"),
    value("local", "10.44.4.6 is tunnels.gre1.address, and VXLAN is not carried by a tunnel", '"10.44.4.6"'),
    value("address", "10.1.1.0/24 has local, 10.1.1.246", '"10.1.1.1/24"'),
    value("address", "10.44.4.9/24 overlaps tunnels.gre1.address, 10.44.4.6/30", '"10.44.4.9/24"'),
    value("address", "contains peers.dc.remote, 177.54.214.20", '"177.54.214.9/24"'),
    value("address", "contains tunnels.gre1.remote, 10.44.7.1", '"10.44.7.9/24"'),
    value("members", "it is empty", "[]"),
    value("members[0]", "no addresses of other machines", '["239.1.1.1"]'),
    value("members[1]", "no addresses of other machines", '["10.1.2.0/24", "255.255.255.255"]'),
    value("members[0]", "no addresses of other machines", '["127.0.0.0/8"]'),
    value("members[0]", "no addresses of other machines", '["0.0.0.0"]'),
    value("members[0]", "10.1.1.246 is local, this host itself", '["10.1.1.246"]'),
    value("members[0]", "10.1.1.255 is the network or broadcast address of 10.1.1.0/24", '["10.1.1.255"]'),
    value("members[0]", "10.44.4.5/32 is in the network of gre1", '["10.44.4.5"]'),
    value("members[0]", "is in the network of address", '["10.99.0.0/25"]'),
    value("port", "4500 is IKE's", "4500"),
    value("port", "500 is IKE's", "500"),
    value("mtu", "out of range", "100"),
    value("querier", "there is no such key; allowed: ", "false"),
    overlay(
        "members[0]",
        "what 10.1.1.246 sends to 10.1.2.0/24 is encrypted by more",
        also={
            "peers.dc.children.more.local_ts": '"10.1.1.246/32"',
            "peers.dc.children.more.remote_ts": '"10.1.2.0/23"',
            "peers.dc.children.more.proposals": '["aes256gcm16"]',
        },
    ),
    overlay("overlay.vx1.vni", "has VNI 7 on port 4789 already", also=more(vni="7")),
    overlay("overlay.vx1.address", "overlaps overlay.vx0.address, 10.99.0.1/24", also=more(address='"10.99.0.9/16"')),
    overlay("overlay.gre1", "gre1 is tunnels.gre1", also={key.replace("vx0", "gre1"): v for key, v in OVERLAY.items()}),
    overlay("groups[1].sources[0]", "is overlay.vx0.address, so it is ours", '["10.99.0.1"]'),
    overlay(
        "tunnels.gre1.pim.rp[0].address",
        "10.99.0.1 is overlay.vx0.address, so it is ours",
        also={"tunnels.gre1.pim.rp[0].address": '"10.99.0.1"'},
    ),
)
NOTED = (
    value("members[0]", "every address may take part", '["0.0.0.0/0"]'),
    overlay("members[0]", "10.1.0.0/16 of gre1 leads there", also={"tunnels.gre1.routes": '["groups", "10.1.0.0/16"]'}),
    overlay("mtu", "packets of gre1 may have 1398 bytes", "1000", {"tunnels.gre1.mtu": "1398"}),
)
