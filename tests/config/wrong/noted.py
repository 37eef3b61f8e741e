"""What may work, and is probably a mistake: accepted with a note."""

from tests.config.wrong.children import more
from tests.config.wrong.mistakes import wrong
from tests.config.wrong.peers import SECOND
from tests.config.wrong.tunnels import second

P, G, C, T, N = "peers.dc", "peers.dc.children.gre", "peers.dc.children.tcp", "tunnels.gre1", "tunnels.gre1.pim"

NOTED = (
    wrong(
        f"{P}.proposals[0]", "modp1024: the Diffie-Hellman group has less than 2048 bits", '["aes256-sha256-modp1024"]'
    ),
    wrong(f"{P}.proposals[0]", "3des: its blocks of 64 bits", '["3des-sha256-modp2048"]'),
    wrong(f"{P}.proposals[0]", "md5: MD5 has been broken", '["aes256-md5-modp2048"]'),
    wrong(f"{G}.proposals[0]", "null: it encrypts nothing", '["null-sha256"]'),
    wrong(f"{G}.proposals[0]", "des: DES has been broken", '["des-sha256"]'),
    wrong(f"{G}.proposals[0]", "sha256 has no effect beside aes256gcm16", '["aes256gcm16-sha256"]'),
    wrong(f"{G}.proposals[1]", "is there already", '["aes256gcm16", "aes256gcm16"]'),
    wrong(f"{P}.lifetime", "negotiated again every 10s", "10"),
    wrong(f"{G}.lifetime", "negotiated again every 4s", '"4s"'),
    wrong(f"{P}.local_id", "%any stands for 10.1.1.246", '"%any"'),
    wrong(f"{P}.local_id", "0.0.0.0 stands for 10.1.1.246", '"0.0.0.0"'),
    wrong(f"{P}.local_id", "the same as remote_id", '"177.54.214.20"'),
    *(wrong(f"{P}.local_id", "is a pattern", f'"{one}"') for one in ("*.example.com", "C=CH, O=*", "10.0.0.0/8")),
    wrong(f"{P}.dpd_delay", "found by the GRE keepalives of its tunnels alone", "0", SECOND),
    wrong(f"{P}.standby_after", 'no peer has standby_for = "dc"', '"5s"'),
    wrong(f"{P}.psk_file", "looks like a line of ipsec.secrets", '"line.psk"'),
    wrong(f"{P}.psk_file", "the quotes around the key", '"quoted.psk"'),
    wrong(f"{P}.psk_file", "blanks at the ends", '"blanks.psk"'),
    wrong(f"{C}.mss", "1460 does not fit", "1460"),
    wrong(f"{C}.mss", "40 is less than half of what fits, 1382", "40"),
    wrong(f"{G}.replay_window", "no extended sequence numbers", "0", {f"{G}.proposals": '["aes256-sha256-esn"]'}),
    wrong(f"{C}.local_ts", "its host bits are cut off", '"10.45.8.17/28"'),
    wrong(
        f"{P}.children.more", "overlap those of gre", also=more(local_ts='"10.44.0.0/16"', remote_ts='"10.44.7.0/24"')
    ),
    wrong(T, "GRE is not encrypted", also={f"{T}.child": None}),
    wrong(f"{N}.neighbor", "is outside 10.44.4.4/30", '"10.44.4.99"'),
    wrong(f"{N}.accept_neighbors[0]", "is outside 10.44.4.4/30", '["10.9.0.0/24"]', {f"{N}.neighbor": None}),
    wrong(f"{N}.hello_holdtime", "drops us if one Hello is lost", '"40s"'),
    wrong(f"{C}.remote_ts", "239.0.0.0/8 is multicast, which arrives in tunnels", '"239.0.0.0/8"'),
    wrong(f"{C}.snat_from[0]", "it has no effect: 10.45.8.16/28 is in local_ts", '["10.45.8.16/28"]'),
    wrong(f"{P}.local_id", "10.1.1.246 is a private address", '"10.1.1.246"'),
    wrong(f"{T}.mtu", "600 is less than half of what fits, 1398", "600"),
    wrong(
        f"{T}.address",
        "10.1.0.0/16 contains local of peer dc, 10.1.1.246",
        '"10.1.0.2/16"',
        {f"{T}.peer_address": None, f"{N}.neighbor": None},
    ),
    wrong(
        f"{T}.follow[0]", "since follow_except has it", '["239.1.0.0/16"]', {f"{T}.follow_except": '["239.0.0.0/8"]'}
    ),
    wrong(f"{T}.rp_filter", "routes has none to sources", '"strict"'),
    wrong(f"{T}.follow[0]", "no RP serves a group in 238.0.0.0/8", '["238.0.0.0/8"]'),
    wrong("forward.eth1.groups[0]", "no RP of gre1 serves a group in 238.0.0.0/8", '["238.0.0.0/8"]'),
    wrong("groups[0].group", "gre1 joins nothing, since it has no table pim", also={N: None, f"{N}.rp[0]": None}),
    wrong(
        "groups[0].use",
        "gets its packets 2 times, once by each of gre1, gre2",
        '"all"',
        {
            **second(),
            "tunnels.gre2.upstream": '"none"',
            "groups[0].tunnel": None,
            "groups[0].tunnels": '["gre1", "gre2"]',
        },
    ),
    wrong("groups[0].use", "no effect with one tunnel", '"all"'),
    wrong(
        "paths.dead",
        "never move",
        "[]",
        {
            **second(),
            "tunnels.gre2.upstream": '"none"',
            "groups[0].tunnel": None,
            "groups[0].tunnels": '["gre1", "gre2"]',
        },
    ),
    wrong("forward.eth1.members_max_age", "no effect without members_file", '"1m"'),
    wrong("metrics.listen", "there is no password", '"10.1.1.246:9464"'),
    wrong(
        "tunnels.gre2",
        "GRE is not encrypted",
        also={key: value for key, value in second().items() if not key.endswith("gre2.child")},
    ),
)
