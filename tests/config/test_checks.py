"""Files whose tables are each fine, and do not go together."""

from pathlib import Path

import pytest

from mcastd.config.load import load
from mcastd.errors import ConfigError

TEXT = (Path(__file__).parents[2] / "etc" / "mcastd.toml").read_text()


def complaints(text: str, folder: Path) -> list[str]:
    """What is said of a file, each as ``LINE: KEY: TEXT``."""
    path = folder / "mcastd.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, check_files=False)
    return [str(problem).removeprefix(f"{path}:") for problem in caught.value.problems]


PEER, CHILD = "peers.dc-tun", "peers.dc-tun.children.dc-tun-gre"


def child(lines: str) -> str:
    """The example with lines added to the table of dc-tun-gre."""
    return TEXT.replace(f"[{CHILD}]", f"[{CHILD}]\n{lines}\n#", 1)


def certified(lines: str) -> str:
    """The example with other lines in the place of the pre-shared key."""
    return TEXT.replace("psk_file =", f"{lines}\n#")


def interfaces(*if_ids: int) -> str:
    """The example with a child on each of these XFRM interfaces, every packet in each."""
    children = zip("ab", if_ids, strict=True)
    tables = (
        f'[{PEER}.children.{name}]\nmode = "interface"\nif_id = {number}\ninterface = "ipsec{place}"\n'
        for place, (name, number) in enumerate(children, 1)
    )
    return TEXT + "".join(f'\n{table}proposals = ["aes256gcm16"]\n' for table in tables)


GRE2 = '\n[tunnels.gre2]\nlocal = "10.9.0.1"\nremote = "10.9.0.2"\naddress = "10.9.0.1/30"\n'


def overlay(name: str, lines: str = "") -> str:
    """The text with an overlay."""
    own = 'vni = 7\nlocal = "10.1.1.246"\naddress = "10.99.0.1/24"\nmembers = ["10.1.2.0/24"]'
    return f"{TEXT}\n[overlay.{name}]\n{own}\n{lines}\n"


def forward(name: str, lines: str = "") -> str:
    """The example with a downstream interface."""
    return f"{TEXT}\n[forward.{name}]\n{lines}\n"


def renamed(part: str, name: str) -> str:
    return TEXT.replace(part, name)


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        (renamed("gre1", "interface-of-16-x"), "tunnels.interface-of-16-x", "up to 15 letters"),
        (renamed("gre1", '"a/b"').replace('tunnel = ""a/b""', ""), 'tunnels."a/b"', "no interface name"),
        (renamed("gre1", "gre0"), "tunnels.gre0", "taken by the system"),
        (renamed("peers.dc-tun", 'peers."dc tun"'), 'peers."dc tun"', "not a usable name"),
        (
            TEXT + '\n[[groups]]\ngroup = "239.1.1.1"\n',
            "groups[1].group",
            "239.1.1.1 from every source is joined at line",
        ),
        (
            TEXT + '\n[tunnels.gre2]\nlocal = "10.9.0.1"\nremote = "10.9.0.2"\naddress = "10.44.4.5/31"\n',
            "groups[0].tunnel",
            "it is missing; allowed: one of gre1, gre2",
        ),
        (
            TEXT + '\n[tunnels.gre2]\nlocal = "10.9.0.1"\nremote = "10.9.0.2"\naddress = "10.44.4.5/31"\n',
            "tunnels.gre2.address",
            "overlaps tunnels.gre1.address",
        ),
        (
            TEXT + '\n[tunnels.gre2]\nlocal = "10.9.0.1"\nremote = "10.9.0.2"\naddress = "10.9.0.9/30"\n'
            'addresses = ["10.8.0.1/24", "10.44.4.5/31"]\n',
            "tunnels.gre2.addresses[1]",
            "10.44.4.5/31 overlaps tunnels.gre1.address",
        ),
        (
            renamed('mtu = "auto"', 'addresses = ["10.8.0.1/24", "10.44.4.6/32"]'),
            "tunnels.gre1.addresses[1]",
            "10.44.4.6 is tunnels.gre1.address already",
        ),
        (
            renamed('mtu = "auto"', 'addresses = ["10.8.0.1/24", "10.8.0.1/32"]'),
            "tunnels.gre1.addresses[1]",
            "10.8.0.1 is tunnels.gre1.addresses[0] already",
        ),
        (
            renamed('mtu = "auto"', 'addresses = ["10.44.4.5/30"]'),
            "tunnels.gre1.peer_address",
            "our own address",
        ),
        (
            renamed('mtu = "auto"', 'addresses = ["100.15.30.253/24"]'),
            "tunnels.gre1.pim.rp[0].address",
            "our own address",
        ),
        (
            TEXT + '\n[tunnels.gre2]\nlocal = "10.44.6.1"\nremote = "10.44.7.1"\naddress = "10.9.0.1/30"\n',
            "tunnels.gre2",
            "the same local, remote and key as tunnels.gre1",
        ),
        (
            renamed('mtu = "auto"', 'upstream = "igmp"'),
            "tunnels.gre1.upstream",
            'the tunnel has a table pim; allowed: "pim", or remove the table',
        ),
        (
            TEXT + f'{GRE2}upstream = "pim"\n',
            "tunnels.gre2.upstream",
            'there is no table [tunnels.gre2.pim]; allowed: "igmp" or "none"',
        ),
        (renamed('mtu = "auto"', 'follow = ["224.0.0.0/25"]'), "tunnels.gre1.follow[0]", "never leaves its link"),
        (renamed('mtu = "auto"', 'follow = ["10.0.0.0/8"]'), "tunnels.gre1.follow[0]", "not within 224.0.0.0/4"),
        (renamed('mtu = "auto"', 'follow = "all"'), "tunnels.gre1.follow", "allowed: true, false, or an array"),
        (
            renamed('mtu = "auto"', 'follow = false\nfollow_except = ["239.1.0.0/16"]'),
            "tunnels.gre1.follow_except",
            "nothing is followed",
        ),
        (
            f'{TEXT}{GRE2}upstream = "igmp"\n[[groups]]\ngroup = "232.1.1.1"\ntunnel = "gre2"\n',
            "groups[1].sources",
            "232.1.1.1 is SSM and needs at least one source",
        ),
        (forward("eth1", GRE2), "forward.eth1.from", "it is missing; allowed: one of gre1, gre2"),
        (overlay("vx0", GRE2), "overlay.vx0.from", "it is missing; allowed: one of gre1, gre2"),
        (overlay("gre1"), "overlay.gre1", "gre1 is tunnels.gre1"),
        (overlay("vx0", "[forward.vx0]"), "overlay.vx0", "forward.vx0 is the same interface"),
        (overlay("vx0", "querier = false"), "overlay.vx0.querier", "there is no such key"),
        (overlay("vx0", 'groups = ["224.0.0.0/24"]'), "overlay.vx0.groups[0]", "never leaves its link"),
        (overlay("vx0") + overlay("vx1")[len(TEXT) :], "overlay.vx1.vni", "overlay.vx0 has VNI 7 on port 4789 already"),
        (overlay("vx0").replace("10.99.0.1", "10.1.1.9"), "overlay.vx0.address", "VXLAN would be sent into itself"),
        (overlay("vx0").replace("10.1.2.0/24", "10.99.0.7"), "overlay.vx0.members[0]", "is in the network of address"),
        (overlay("vx0").replace('["10.1.2.0/24"]', "[]"), "overlay.vx0.members", "it is empty"),
        (forward("gre1"), "forward.gre1", "gre1 is tunnels.gre1; allowed: an interface to machines"),
        (forward("lo"), "forward.lo", "taken by the system"),
        (forward("eth1", 'from = ["gre2"]'), "forward.eth1.from[0]", 'there is no tunnel "gre2"; allowed: gre1'),
        (forward("eth1", 'from = ["gre1", "gre1"]'), "forward.eth1.from[1]", "gre1 is named twice"),
        (forward("eth1", "from = []"), "forward.eth1.from", "it is empty"),
        (forward("eth1", 'groups = ["224.0.0.0/24"]'), "forward.eth1.groups[0]", "never leaves its link"),
        (forward("eth1", 'static = ["224.0.0.9"]'), "forward.eth1.static[0]", "which never leaves its link"),
        (
            forward("eth1", 'groups = ["239.1.0.0/16"]\nstatic = ["239.2.0.1"]'),
            "forward.eth1.static[0]",
            "239.2.0.1 is in none of groups",
        ),
        (forward("eth1", 'static = ["239.2.0.1", "239.2.0.1"]'), "forward.eth1.static[1]", "is there already"),
        (forward("eth1", 'static = ["232.2.0.1"]'), "forward.eth1.static[0]", "232.2.0.1 is SSM on gre1"),
        (
            forward("eth1", 'query_interval = "10s"'),
            "forward.eth1.query_response_interval",
            "10 s is not less than query_interval, 10 s",
        ),
        (
            forward("eth1", 'igmp_version = 2\nquery_response_interval = "26s"'),
            "forward.eth1.query_response_interval",
            "26 s does not fit a query of IGMPv2",
        ),
        (
            forward("eth1", "max_groups = 10"),
            "forward.eth1.max_groups_per_host",
            "1000 is more than max_groups, 10",
        ),
        (
            TEXT + '\n[[tunnels.gre1.pim.rp]]\naddress = "10.0.0.1"\ngroups = ["239.0.0.0/8"]\n',
            "tunnels.gre1.pim.rp[1].groups[0]",
            "239.0.0.0/8 has an RP at line",
        ),
        (
            TEXT + '\n[peers.dc-tun.children.more]\nlocal_ts = "10.45.8.16/28"\nremote_ts = "100.15.30.0/24"\n'
            'proposals = ["aes256gcm16"]\n',
            "peers.dc-tun.children.more",
            "the same traffic selectors as dc-tun-tcp",
        ),
        (
            TEXT + '\n[peers.b]\nlocal = "10.1.1.246"\nremote = "177.54.214.20"\nlocal_id = "222.45.67.1"\n'
            'remote_id = "177.54.214.20"\npsk_file = "x"\nproposals = ["aes256-sha256-modp2048"]\n',
            "peers.b",
            "the addresses and identities of peers.dc-tun",
        ),
        (
            TEXT + '\n[peers.b]\nlocal = "10.1.1.246"\nremote = "177.54.214.21"\nlocal_id = "222.45.67.1"\n'
            'remote_id = "a"\npsk_file = "x"\nproposals = ["aes256-sha256-modp2048"]\n'
            '[peers.b.children.dc-tun-tcp]\nlocal_ts = "1.0.0.0/8"\nremote_ts = "2.0.0.0/8"\n'
            'proposals = ["aes256gcm16"]\n',
            "peers.b.children.dc-tun-tcp",
            "a child of this name is at line",
        ),
        (
            TEXT.replace("[daemon]", '[daemon]\ndatapath = "userspace"').replace('"auto"  ', "1377"),
            "tunnels.gre1.mtu",
            "1376",
        ),
        (TEXT.replace("psk_file =", "psk ="), "peers.dc-tun.psk", "did you mean psk_file?"),
        (TEXT.replace("psk_file =", "psk ="), "peers.dc-tun.psk_file", "it is missing from [peers.dc-tun]"),
        (child('mode = "interface"'), f"{CHILD}.if_id", 'which mode "interface" needs'),
        (child("if_id = 7"), f"{CHILD}.if_id", 'the mode is "tunnel"; allowed: mode "interface"'),
        (child('mode = "transport"\ninterface = "ipsec7"'), f"{CHILD}.interface", 'the mode is "transport"'),
        (
            child('mode = "transport"'),
            f"{CHILD}.local_ts",
            "10.44.6.1/32 is not local of the peer; allowed: 10.1.1.246/32",
        ),
        (child('mode = "transport"'), f"{CHILD}.remote_ts", "allowed: 177.54.214.20/32"),
        (certified('local_cert = "c"'), f"{PEER}.local_key", "local_cert and local_key together"),
        (certified('local_cert = "c"\nlocal_key = "k"'), f"{PEER}.ca_certs", "or remote_cert itself"),
        (certified(""), f"{PEER}.psk_file", "a pre-shared key, or local_cert and local_key"),
        (TEXT.replace("psk_file =", 'local_cert = "c"\npsk_file ='), f"{PEER}.psk_file", "not both"),
        (interfaces(7, 7), "peers.dc-tun.children.b", "the same traffic selectors as a"),
        (
            renamed('snat = "10.45.8.17"', 'snat = "10.45.9.17"'),
            "peers.dc-tun.children.dc-tun-tcp.snat",
            "10.45.9.17 is outside local_ts of dc-tun-tcp",
        ),
        (
            renamed('snat = "10.45.8.17"', 'snat_from = ["10.0.0.0/8"]'),
            "peers.dc-tun.children.dc-tun-tcp.snat_from",
            "there is no snat",
        ),
        (
            renamed('snat = "10.45.8.17"', ""),
            "peers.dc-tun.children.dc-tun-tcp.snat_loopback",
            "there is no snat",
        ),
        (
            renamed('local_ts = "10.45.8.17/28"', 'local_ts = "0.0.0.0/0"'),
            "peers.dc-tun.children.dc-tun-tcp.snat_from",
            "every address is in local_ts",
        ),
        ("groups = 5", "groups", "allowed: an array of tables, [[groups]]"),
        ("groups = [5]", "groups[0]", "allowed: a table"),
        ("peers = 5", "peers", "allowed: tables by name, [peers.NAME]"),
        ("[peers]\na = 5", "peers.a", "allowed: a table, [peers.NAME]"),
        ('[[groups]]\ngroup = "239.1.1.1"', "groups[0].tunnel", "the name of a tunnel, and the file has none"),
    ],
)
def test_contradictions_over_tables(text: str, key: str, said: str, tmp_path: Path) -> None:
    found = complaints(text, tmp_path)
    assert any(f": {key}: " in complaint and said in complaint for complaint in found), found


def test_overlapping_selectors_are_a_note(tmp_path: Path) -> None:
    more = '\n[peers.dc-tun.children.wide]\nlocal_ts = "10.45.8.0/24"\nremote_ts = "100.0.0.0/8"\n'
    (tmp_path / "mcastd.toml").write_text(TEXT + more + 'proposals = ["aes256gcm16"]\n')
    notes = load(tmp_path / "mcastd.toml", check_files=False).notes
    assert [note.key for note in notes] == ["peers.dc-tun.children.dc-tun-tcp.local_ts", "peers.dc-tun.children.wide"]
    assert "overlap those of dc-tun-tcp" in notes[1].text


def test_children_of_different_xfrm_interfaces_may_have_the_same_selectors(tmp_path: Path) -> None:
    (tmp_path / "mcastd.toml").write_text(interfaces(7, 8))
    loaded = load(tmp_path / "mcastd.toml", check_files=False)
    children = {one.name: one for one in loaded.config.peers[0].children}
    assert children["a"].local_ts == children["b"].local_ts
    notes = [note.text for note in loaded.notes if note.key == f"{PEER}.children.b"]
    assert any("those of a: by them the other side cannot distinguish the two" in note for note in notes)
    assert not any("only one of the two carries" in note and "those of a" in note for note in notes)


def test_transport_mode_needs_no_selectors(tmp_path: Path) -> None:
    more = f'\n[{PEER}.children.b]\nmode = "transport"\nproposals = ["aes256gcm16"]\n'
    (tmp_path / "mcastd.toml").write_text(TEXT + more)
    loaded = load(tmp_path / "mcastd.toml", check_files=False)
    (one,) = (one for one in loaded.config.peers[0].children if one.name == "b")
    assert (str(one.local_ts), str(one.remote_ts), one.protocol) == ("10.1.1.246/32", "177.54.214.20/32", "gre")


@pytest.mark.parametrize(
    ("keys", "count"),
    [("", 1), ('static = ["239.1.7.1"]', 0), ('members_file = "/run/members.json"', 0), ("igmp_version = 2", 1)],
)
def test_where_no_query_is_sent_something_else_says_what_is_wanted(tmp_path: Path, keys: str, count: int) -> None:
    (tmp_path / "mcastd.toml").write_text(forward("eth1", f"querier = false\n{keys}"))
    notes = [note.key for note in load(tmp_path / "mcastd.toml", check_files=False).notes]
    assert notes.count("forward.eth1.querier") == count


@pytest.mark.parametrize(("members", "notes"), [('"10.1.2.0/24", "10.1.3.0/24"', 0), ('"10.1.2.0/23"', 1)])
def test_that_machines_are_too_many_to_be_asked_is_a_note(tmp_path: Path, members: str, notes: int) -> None:
    (tmp_path / "mcastd.toml").write_text(overlay("vx0").replace('"10.1.2.0/24"', members))
    found = [note.text for note in load(tmp_path / "mcastd.toml", check_files=False).notes if "members" in note.key]
    assert len(found) == notes
    assert all("gets nothing until it joins again" in text for text in found)


def test_snat_towards_the_same_addresses_is_a_note_where_both_may_match(tmp_path: Path) -> None:
    def notes(snat_from: str) -> list[str]:
        more = '\n[peers.dc-tun.children.more]\nlocal_ts = "10.46.0.0/28"\nremote_ts = "100.15.30.0/25"\n'
        more += f'proposals = ["aes256gcm16"]\nsnat = "10.46.0.1"\nsnat_from = {snat_from}\n'
        text = TEXT.replace('snat = "10.45.8.17"', 'snat = "10.45.8.17"\nsnat_from = ["192.168.0.0/16"]')
        (tmp_path / "mcastd.toml").write_text(text + more)
        found = load(tmp_path / "mcastd.toml", check_files=False).notes
        return [note.text for note in found if note.key.endswith(".snat")]

    assert notes('["172.16.0.0/12"]') == []
    for both in ("[]", '["192.168.7.0/24"]'):
        assert notes(both) == ["packets to 100.15.30.0/25 may match the SNAT of dc-tun-tcp as well, which comes first"]


@pytest.mark.parametrize(
    ("lines", "key", "problem"),
    [
        ('name = "A"\ngroups = ["239.1.1.1"]', "feeds[1].name", "A is the name of the feed at line"),
        ('name = "B"\ngroups = ["239.2.1.1", "239.1.1.0/24"]', "feeds[1].groups[1]", "is in the feed at line"),
        ('name = "B"\ngroups = []', "feeds[1].groups", "it is empty"),
        ('name = ""\ngroups = ["239.1.1.1"]', "feeds[1].name", "a name of 1 to 63 characters"),
        ('groups = ["239.1.1.1"]', "feeds[1].name", "it is missing"),
        ('name = "B"\ngroups = ["10.1.1.1"]', "feeds[1].groups[0]", "is not within 224.0.0.0/4"),
        ('name = "B"\ngroups = ["239.1.1.1"]\nhours = "Mon 09:00-10:00"', "feeds[1].hours", "for max_silence only"),
        ('name = "B"\ngroups = ["239.1.1.1"]\nport = 0', "feeds[1].port", "0 is out of range"),
        ('name = "B"', "feeds[1].groups", "it is missing, and so is pair"),
        ('name = "B"\npair = ["239.1.1.1"]\nsequence = "rtp"', "feeds[1].pair", "it is not an array of two"),
        ('name = "B"\npair = ["239.1.1.1", "239.2.1.1:0"]\nsequence = "rtp"', "feeds[1].pair[1]", '"0" is not a port'),
        (
            f'name = "B"\npair = ["239.1.1.1", "239.2.1.1:{"9" * 5000}"]\nsequence = "rtp"',
            "feeds[1].pair[1]",
            "is not a port",
        ),
        ('name = "B"\npair = ["239.1.1.1", "239.2.1.1"]', "feeds[1].pair", "it needs sequence, which is missing"),
        ('name = "B"\npair = ["239.1.1.1", "239.1.1.1"]\nsequence = "rtp"', "feeds[1].pair", "both are 239.1.1.1"),
        ('name = "B"\npair = ["239.1.1.1", "239.2.1.1:7"]\nsequence = "rtp"', "feeds[1].pair", "only one of them has"),
        (
            'name = "B"\npair = ["239.1.1.1", "239.2.1.1"]\nsequence = { offset = 0, size = 1 }',
            "feeds[1].pair",
            "numbers of one byte are too few",
        ),
        (
            'name = "B"\ngroups = ["239.3.1.1"]\npair = ["239.2.1.1:7", "239.3.1.1:7"]\nsequence = "rtp"\n'
            '[[feeds]]\nname = "C"\ngroups = ["239.2.1.1"]\nport = 7',
            "feeds[2].groups[0]",
            "239.2.1.1/32 with this port is in the feed at line",
        ),
    ],
)
def test_feeds_that_cannot_be(lines: str, key: str, problem: str, tmp_path: Path) -> None:
    text = f'{TEXT}\n[[feeds]]\nname = "A"\ngroups = ["239.1.1.0/24"]\n\n[[feeds]]\n{lines}\n'
    [found] = complaints(text, tmp_path)
    assert f" {key}: " in found
    assert problem in found
