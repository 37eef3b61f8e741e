"""What published files do that is easy to read wrongly: each says what charon, or libreswan, makes of it."""

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from mcastd.config.checks.host import Host, OwnNetwork
from mcastd.config.load import loads
from mcastd.config.pre_shared_key import pre_shared_key
from mcastd.tools.importer.draft import Missing, Notes, PeerDraft
from mcastd.tools.importer.files import drafts
from mcastd.tools.importer.write import toml

CONF = """conn dc
    keyexchange=ikev2
    left=10.1.1.246
    leftid=192.0.2.67
    leftsubnet=10.44.6.1/32
    right=198.51.100.20
    rightid=198.51.100.20
    rightsubnet=10.44.7.1/32
    ike=aes256-sha256-modp2048!
    esp=aes256-sha256-modp2048!
    authby=secret
    auto=start
"""
SWANCTL = """connections {
  dc {
    local_addrs = 10.1.1.246
    remote_addrs = 198.51.100.20
    proposals = aes256-sha256-modp2048
    local {
      auth = psk
      id = 192.0.2.67
    }
    remote {
      auth = psk
      id = 198.51.100.20
    }
    children {
      gre {
        local_ts = 10.44.6.1/32
        remote_ts = 10.44.7.1/32
        esp_proposals = aes256-sha256-modp2048
      }
    }
  }
}
"""
TWO = "192.0.2.67 198.51.100.20 : PSK {}\n"


class Imported:
    """What comes of files, given by name."""

    def __init__(self, folder: Path, given: tuple[str, ...], **files: str) -> None:
        for name, text in files.items():
            path = folder / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        notes = Notes()
        self.peers = drafts([folder / name for name in given], notes)
        self.notes = [str(problem) for problem in notes.problems]
        self.toml = toml(self.peers, notes.problems)

    @property
    def peer(self) -> PeerDraft:
        (peer,) = self.peers
        return peer

    def noted(self, *words: str) -> bool:
        return any(all(word in note for word in words) for note in self.notes)

    def valid(self) -> bool:
        loads(self.toml, Path("mcastd.toml"), check_files=False)
        return True


def ipsec(folder: Path, conf: str, secrets: str = TWO.format("abc")) -> Imported:
    return Imported(folder, ("ipsec.conf", "ipsec.secrets"), ipsec_conf=conf, ipsec_secrets=secrets)


@pytest.mark.parametrize(
    ("secrets", "key", "noted"),
    [
        ('%any %any : PSK "generic"\n198.51.100.20 : PSK "byaddr"', b"byaddr", "ipsec.secrets:2 (198.51.100.20)"),
        ('10.1.1.246 198.51.100.20 : PSK "old"\n' + TWO.format("new"), b"new", "not "),
        (TWO.format("'it # is'"), b"it # is", None),
        (f'# keys\n  : PSK "generic"\n  {TWO.format("specific")}', b"specific", "ipsec.secrets:3 (192.0.2.67"),
        (TWO.format("0SYWJj"), b"abc", None),
        (TWO.format("one") + TWO.format("two"), b"two", "the last of those that fit equally well"),
        (TWO.format("one") + TWO.format("one"), b"one", None),
    ],
)
def test_the_key_is_the_one_that_charon_takes(tmp_path: Path, secrets: str, key: bytes, noted: str | None) -> None:
    found = ipsec(tmp_path, CONF, secrets)
    assert found.peer.psk == key
    assert found.noted("psk", noted) if noted else not found.notes
    assert key.decode() not in "".join(found.notes) + found.toml
    assert found.valid()


@pytest.mark.parametrize("anyone", ["0.0.0.0", "%any6", "*"])
def test_an_identity_that_stands_for_the_address_is_written_in_one_way(tmp_path: Path, anyone: str) -> None:
    found = ipsec(tmp_path, CONF.replace("leftid=192.0.2.67", f"leftid={anyone}"), '198.51.100.20 : PSK "abc"\n')
    assert (found.peer.keys["local_id"], found.peer.psk) == ("%any", b"abc")


def test_a_second_gateway_is_named(tmp_path: Path) -> None:
    several = SWANCTL.replace("remote_addrs = 198.51.100.20", "remote_addrs = 198.51.100.20, 198.51.100.21")
    found = Imported(tmp_path, ("swanctl.conf",), swanctl_conf=several)
    assert found.peer.keys["remote"] == "198.51.100.20"
    assert found.noted("only 198.51.100.20 is imported; another gateway is a peer with standby_for")


def test_of_two_sections_of_swanctl_the_last_is_taken(tmp_path: Path) -> None:
    two = "".join(
        f"  ike-{key} {{\n    id-1 = 192.0.2.67\n    id-2 = 198.51.100.20\n    secret = {key}\n  }}\n"
        for key in ("one", "two")
    )
    found = Imported(tmp_path, ("swanctl.conf",), swanctl_conf=f"{SWANCTL}secrets {{\n{two}}}\n")
    assert found.peer.psk == b"two"
    assert found.noted("swanctl.conf:29 (192.0.2.67 198.51.100.20)", "not ", "swanctl.conf:24", "the last")


@pytest.mark.parametrize(
    ("conf", "secrets", "why"),
    [
        (
            CONF.replace("    leftid=192.0.2.67\n", "").replace("10.1.1.246", "%any"),
            TWO.format("a") + TWO.format("b").replace("192.0.2.67", "%any"),
            "our identity is not known",
        ),
        (CONF, "203.0.113.9 : PSK a\n", "none of them fits 192.0.2.67 and 198.51.100.20"),
        (CONF, TWO.format("0xno"), "not hexadecimal"),
        (
            CONF.replace("!", "").replace("rightid=198.51.100.20", "rightid=%any\n    ikev2=insist"),
            '192.0.2.67 198.51.100.20 : PSK "a"\n%any %any : PSK "b"\n',
            "the other side's identity is not known",  # libreswan takes the one that it meets
        ),
    ],
)
def test_a_key_that_is_not_clear_or_cannot_be_used_is_left_to_the_reader(
    tmp_path: Path, conf: str, secrets: str, why: str
) -> None:
    found = ipsec(tmp_path, conf, secrets)
    assert found.peer.psk is None
    missing = found.peer.keys["psk_file"]
    assert isinstance(missing, Missing)
    assert why in missing.why
    assert '#? psk_file = "dc.psk"  # ' in found.toml
    assert found.noted("psk", why, "ipsec.secrets:1")


def test_where_charon_does_not_ask_for_an_identity_of_theirs_ours_decides(tmp_path: Path) -> None:
    keys = TWO.format("ours") + "198.51.100.20 : PSK theirs\n"
    found = ipsec(tmp_path, CONF.replace("rightid=198", "rightid=%198"), keys)
    assert (found.peer.psk, found.peer.keys["remote_id"]) == (b"ours", "198.51.100.20")
    assert found.noted("rightid", "the % is not imported")
    source = SWANCTL.replace("      id = 198.51.100.20\n", "")
    found = Imported(tmp_path, ("swanctl.conf", "ipsec.secrets"), swanctl_conf=source, ipsec_secrets=keys)
    assert (found.peer.psk, found.peer.keys["remote_id"]) == (b"ours", "%any")


def test_a_configuration_that_only_includes_others(tmp_path: Path) -> None:
    secrets = 'secrets {\n  ike-dc {\n    id = 198.51.100.20\n    secret = "abc"\n  }\n}\n'
    found = Imported(
        tmp_path, ("swanctl.conf",), swanctl_conf="# Include config snippets\ninclude conf.d/*.conf\n",
        conf_d__dc_conf=SWANCTL, conf_d__keys_conf=secrets,
    )  # fmt: skip
    assert (found.peer.psk, found.notes) == (b"abc", [])
    found = Imported(
        tmp_path, ("ipsec.conf", "ipsec.secrets"), ipsec_conf="  include ipsec.d/*.conf\n", ipsec_d__dc_conf=CONF,
        ipsec_secrets="include ipsec.d/*.secrets", ipsec_d__dc_secrets=TWO.format("abc"),
    )  # fmt: skip
    assert (found.peer.psk, found.notes) == (b"abc", [])


def test_all_files_of_a_format_are_one_configuration(tmp_path: Path) -> None:
    base = "base {\n  version = 2\n  proposals = aes256-sha256-modp2048\n}\n"
    conf = SWANCTL.replace("  dc {", "  dc : base {").replace("    proposals = aes256-sha256-modp2048\n", "", 1)
    found = Imported(tmp_path, ("a.conf", "b.conf"), a_conf=conf, b_conf=f"{base}connections {{\n}}\n")
    assert found.peer.keys["proposals"] == ("aes256-sha256-modp2048",)
    default, conn = "conn %default\n\tkeyexchange=ikev1\n", CONF.replace("    keyexchange=ikev2\n", "")
    found = Imported(tmp_path, ("a.conf", "b.conf"), a_conf=conn, b_conf=default)
    assert found.peer.keys["version"] == 1


def test_a_word_ends_at_a_comment_without_a_blank(tmp_path: Path) -> None:
    found = ipsec(tmp_path, CONF.replace("modp2048!", "modp2048!#strict").replace("10.1.1.246", "10.1.1.246#private"))
    assert (found.peer.keys["local"], found.notes) == ("10.1.1.246", [])
    assert found.peer.complete


@pytest.mark.parametrize(
    "ours", ["leftauth=psk\n    rightauth=pubkey", "leftauth=psk", "authby=rsasig\n    leftauth=psk"]
)
def test_sides_that_authenticate_differently_are_not_supported(tmp_path: Path, ours: str) -> None:
    found = ipsec(tmp_path, CONF.replace("authby=secret", ours))
    assert found.noted("rightauth", "we authenticate with psk, the other side with pubkey, which is not supported")
    assert found.peer.psk is None
    assert not found.peer.complete
    other = SWANCTL.replace("auth = psk\n      id = 198", "auth = pubkey\n      id = 198")
    found = Imported(tmp_path, ("swanctl.conf",), swanctl_conf=other)
    assert found.noted("swanctl.conf:11: auth", "the other side with pubkey, which is not supported")
    assert not found.peer.complete


LIBRESWAN = """version 2.0
config setup
	protostack=netkey
conn dc
	authby=secret
	auto=start
	ikev2=no
	left=10.1.1.246
	leftid=192.0.2.67
	leftsubnets={10.44.6.1/32 10.45.8.16/28}
	right=198.51.100.20
	rightsubnets={10.44.7.1/32 10.30.0.0/24}
	ike=aes256-sha2;dh14
	phase2alg=aes_gcm256-null
	ikelifetime=8h
	salifetime=1h
	pfs=yes
	encapsulation=yes
	leftrsasigkey=0sAQO==
"""


def test_libreswan_is_read_in_its_dialect_and_named_first(tmp_path: Path) -> None:
    found = ipsec(tmp_path, LIBRESWAN, '192.0.2.67 198.51.100.20: PSK "abc"\n')
    assert "ipsec.conf:3: protostack: in the dialect of libreswan" in found.notes[0]
    assert len(found.notes) == 3  # the several networks, and the RSA key
    peer = found.peer
    said = ("version", "proposals", "lifetime", "encap")
    assert [peer.keys[key] for key in said] == [1, ("aes256-sha256-modp2048",), "8h", True]
    assert peer.psk == b"abc"
    assert [(child.keys["local_ts"], child.keys["remote_ts"]) for child in peer.children] == [
        ("10.44.6.1/32", "10.44.7.1/32"),
        ("10.44.6.1/32", "10.30.0.0/24"),
        ("10.45.8.16/28", "10.44.7.1/32"),
        ("10.45.8.16/28", "10.30.0.0/24"),
    ]
    assert peer.children[0].keys["proposals"] == ("aes256gcm16-modp2048",)
    assert found.valid()


@pytest.mark.parametrize(
    ("written", "proposal"),
    [
        ("ike=aes256-sha1;modp1024", ("aes256-sha1-modp1024",)),
        ("ike=aes_gcm_c_128-sha2_512;dh19,aes128-md5-modp1536", ("aes128gcm16-sha512-ecp256", "aes128-md5-modp1536")),
        ("ike=aes256-sha2_256+sha2_512;dh14+dh31", ("aes256-sha256-sha512-modp2048-x25519",)),
    ],
)
def test_proposals_of_libreswan(tmp_path: Path, written: str, proposal: tuple[str, ...]) -> None:
    text = LIBRESWAN.replace("ike=aes256-sha2;dh14", written).replace("\tikev2=no\n", "")
    found = ipsec(tmp_path, text, "")
    assert found.peer.keys["proposals"] == proposal
    assert found.noted("taken as IKEv2; libreswan before version 4")


def test_everything_into_the_tunnel_becomes_an_interface(tmp_path: Path) -> None:
    everything = CONF.replace("10.44.6.1/32", "0.0.0.0/0").replace("10.44.7.1/32", "0.0.0.0/0")
    for mark, number in (("mark=100", 100), ("mark_out=0x2a/0xff", 42), ("mark=%unique", 1), ("", 1)):
        found = ipsec(tmp_path, f"{everything}    {mark}\n")
        keys = found.peer.children[0].keys
        assert (keys["mode"], keys["if_id"], keys["interface"]) == ("interface", number, f"xfrm{number}")
        assert found.noted('mode = "interface"')
        assert found.valid()


def test_children_of_one_mark_have_interfaces_of_their_own(tmp_path: Path) -> None:
    second = CONF.replace("conn dc", "conn tcp").replace("10.44.7.1/32", "100.15.30.0/24")
    found = ipsec(tmp_path, f"{CONF}    mark=1\n{second}    mark=1\n")
    assert [child.keys["if_id"] for child in found.peer.children] == [1, 2]
    assert found.noted("ipsec.conf:1: tcp", "another number")
    assert found.valid()


def test_a_base_is_no_child_and_the_tunnel_is_offered_to_the_one_that_carries_gre(tmp_path: Path) -> None:
    base = CONF.replace("conn dc", "conn base").replace("    leftsubnet=10.44.6.1/32\n", "")
    base = base.replace("    rightsubnet=10.44.7.1/32\n", "")
    tcp = "conn tcp\n\talso=base\n\tleftsubnet=10.45.8.16/28\n\trightsubnet=100.15.30.0/24\n"
    gre = "conn gre\n\talso=base\n\tleftsubnet=10.44.6.1/32\n\trightsubnet=10.44.7.1/32\n"
    found = ipsec(tmp_path, base + tcp + gre)
    assert [child.name for child in found.peer.children] == ["tcp", "gre"]
    assert found.noted("ipsec.conf:1: base", "not as a CHILD_SA between the peers alone")
    assert '#? child = "gre"' in found.toml


def test_the_default_routes_address_is_suggested(tmp_path: Path) -> None:
    (tmp_path / "ipsec.conf").write_text(CONF.replace("left=10.1.1.246\n    leftid=192.0.2.67", "left=%defaultroute"))
    gateway = OwnNetwork("eth0", IPv4Network("10.9.0.1/32"), IPv4Address("10.9.0.7"), is_gateway=True)
    (peer,) = drafts([tmp_path / "ipsec.conf"], Notes(), own=Host(frozenset(), (gateway,)))
    assert '#? local = "10.9.0.7"' in toml([peer], [])
    assert '#? local_id = "10.9.0.7"' in toml([peer], [])
    assert "has %defaultroute, and an IPv4 address is needed; 10.9.0.7 is this host's" in toml([peer], [])


def test_bytes_that_are_not_utf_8_are_kept(tmp_path: Path) -> None:
    (tmp_path / "ipsec.conf").write_text(CONF)
    (tmp_path / "ipsec.secrets").write_bytes(b'# l\xe9\n192.0.2.67 198.51.100.20 : PSK "cl\xe9"\n')
    (peer,) = drafts([tmp_path / "ipsec.conf", tmp_path / "ipsec.secrets"], Notes())
    assert peer.psk == b"cl\xe9"
    (tmp_path / "swanctl.conf").write_bytes(SWANCTL.encode() + b"secrets { ike { secret = cl\xe9 } }\n")
    (peer,) = drafts([tmp_path / "swanctl.conf"], Notes())
    assert peer.psk == b"cl\xe9"


@pytest.mark.parametrize(("written", "key"), [("0sYQBi", b"a\0b"), ("0x610a", b"a\n"), ("0x610d", b"a\r")])
def test_a_key_with_bytes_that_a_line_cannot_have_is_written_in_base64(
    tmp_path: Path, written: str, key: bytes
) -> None:
    found = ipsec(tmp_path, CONF, TWO.format(written))
    assert found.peer.psk == key
    assert found.peer.keys["psk_encoding"] == "base64"
    file = tmp_path / "written.psk"
    file.write_bytes(found.peer.written_key + b"\n")
    file.chmod(0o600)
    assert pre_shared_key(file, "base64").content == key
