from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcastd.config.strongswan_conf import parse
from mcastd.errors import ConfigError
from mcastd.tools.importer.draft import Missing, Notes, PeerDraft
from mcastd.tools.importer.swanctl import drafts, secrets
from mcastd.tools.importer.write import toml
from mcastd.tools.peerconfig import linux
from tests.tools.peerconfig.agreed import example, transport

FILE = Path("swanctl.conf")
ENDS = """local_addrs = 10.1.1.246
    remote_addrs = 177.54.214.20
    local { auth = psk
      id = 222.45.67.1 }
    remote { auth = psk
      id = 177.54.214.20 }
    proposals = aes256-sha256-modp2048"""
CHILD = "esp_proposals = aes256-sha256-modp2048"


def text(*, connection: str = "", child: str = "", more: str = "") -> str:
    return f"""connections {{
  dc {{
    {ENDS}
    {connection}
    children {{
      gre {{ {CHILD}
        {child}
      }}
    }}
  }}
}}
{more}
"""


def peers(source: str, notes: Notes | None = None) -> list[PeerDraft]:
    root, notes = parse(source, FILE), notes or Notes()
    return drafts(root, secrets(root, notes), notes)


def noted(source: str) -> dict[str, str]:
    notes = Notes()
    peers(source, notes)
    return {problem.key: problem.text for problem in notes.problems}


def test_the_mirror_image_that_peer_config_makes_is_read_back_as_the_other_side() -> None:
    config, notes = example(), Notes()
    (peer,) = peers(linux.swanctl_conf(config), notes)
    ours = config.peers[0]
    assert peer.keys["local"] == str(ours.remote)
    assert peer.keys["remote"] == peer.keys["remote_id"] == "222.45.67.1"
    assert peer.keys["proposals"] == ours.proposals
    assert peer.keys["lifetime"] == "4h"
    assert peer.psk == b"<PSK>"
    assert [
        (child.name, child.keys["local_ts"], child.keys["remote_ts"], child.keys["lifetime"]) for child in peer.children
    ] == [(child.name, str(child.remote_ts), str(child.local_ts), "1h") for child in ours.children]
    assert notes.problems == ()
    assert peer.complete


def test_transport_mode_is_read_back() -> None:
    (peer,) = peers(linux.swanctl_conf(transport()))
    assert peer.children[0].keys == {"mode": "transport", "proposals": ("aes256-sha256-modp2048",), "lifetime": "1h"}


@pytest.mark.parametrize(
    ("connection", "keys"),
    [
        ("", {}),
        ("version = 1\nreauth_time = 3600", {"version": 1, "lifetime": "66m"}),
        ("version = 2\nrekey_time = 4h\nover_time = 0s", {"lifetime": "4h"}),
        ("reauth_time = 1h\nover_time = 10m", {"lifetime": "70m", "reauthentication": True}),
        ("dpd_delay = 10s\nencap = yes", {"dpd_delay": "10s", "encap": True}),
    ],
)
def test_what_is_set_is_carried_over(connection: str, keys: dict[str, object]) -> None:
    (peer,) = peers(text(connection=connection))
    always = {"local", "remote", "local_id", "remote_id", "psk_file", "proposals"}
    assert {key: value for key, value in peer.keys.items() if key not in always} == keys


@pytest.mark.parametrize(
    ("child", "keys"),
    [
        ("", {"local_ts": "10.1.1.246/32", "remote_ts": "177.54.214.20/32"}),
        ("local_ts = 10.0.0.0/24[gre]\nremote_ts = dynamic", {"local_ts": "10.0.0.0/24", "protocol": "gre"}),
        ("if_id_in = 0x2a\nif_id_out = 42", {"mode": "interface", "if_id": 42}),
        ("if_id_in = 0\nif_id_out = 0", {"local_ts": "10.1.1.246/32"}),
        ("life_time = 30m\nreplay_window = 32", {"lifetime": "30m", "replay_window": 32}),
        ("rekey_time = 1h", {"lifetime": "66m"}),
    ],
)
def test_children(child: str, keys: dict[str, object]) -> None:
    (peer,) = peers(text(child=child))
    assert keys.items() <= peer.children[0].keys.items()


def test_children_have_the_interface_of_their_connection_unless_they_say_another() -> None:
    source = text(connection="if_id_in = 7\nif_id_out = 7", child="if_id_in = 8\nif_id_out = 8")
    (peer,) = peers(source)
    assert (peer.children[0].keys["mode"], peer.children[0].keys["if_id"]) == ("interface", 8)
    (peer,) = peers(text(connection="if_id_in = 7\nif_id_out = 7"))
    assert (peer.children[0].keys["mode"], peer.children[0].keys["if_id"]) == ("interface", 7)
    (peer,) = peers(text(connection="if_id_in = 7\nif_id_out = 7", child="if_id_in = 0\nif_id_out = 0"))
    assert "mode" not in peer.children[0].keys
    assert "if_id_in" not in noted(source)


def test_several_networks_become_a_child_for_each_pair() -> None:
    source = text(child="local_ts = 10.0.0.0/24, 10.0.1.0/24\nremote_ts = 10.2.0.0/16")
    (peer,) = peers(source)
    assert [(child.name, child.keys["local_ts"]) for child in peer.children] == [
        ("gre", "10.0.0.0/24"),
        ("gre-2", "10.0.1.0/24"),
    ]
    assert "a CHILD_SA for each pair" in noted(source)["local_ts"]


@pytest.mark.parametrize(
    ("connection", "child", "more", "key"),
    [
        ("vips = 0.0.0.0", "", "", "vips"),
        ("version = 0", "", "", "version"),
        ("mobike = yes", "", "", "mobike"),
        ("proposals = default, aes256-sha256-modp2048", "", "", "proposals"),
        ("", "updown = /usr/lib/ipsec/_updown", "", "updown"),
        ("", "mode = drop", "", "mode"),
        ("", "mode = drop", "", "dc"),
        ("", "replay_window = 9999", "", "replay_window"),
        ("", "if_id_in = 1\nif_id_out = 2", "", "if_id_in"),
        ("", "if_id_in = 1", "", "if_id_in"),
        ("", "rekey_time = 0", "", "rekey_time"),
        ("rekey_time = 0", "", "", "rekey_time"),
        ("reauth_time = 0\nrekey_time = 0", "", "", "reauth_time"),
        ("if_id_in = 1", "", "", "if_id_in"),
        ("extra { a = b }", "", "", "extra"),
        ("", "start_action = trap", "", "start_action"),
        ("", "local_ts = fe80::/10", "", "local_ts"),
        ("", "", "pools { one { addrs = 10.9.0.0/24 } }", "pools"),
        ("", "", "secrets { eap-carol { secret = hidden } }", "secrets.eap-carol"),
        ("local-2 { auth = eap }", "", "", "local"),
    ],
)
def test_what_is_not_carried_over_is_named(connection: str, child: str, more: str, key: str) -> None:
    found = noted(text(connection=connection, child=child, more=more))
    assert key in found
    assert "hidden" not in str(found)


SILENT = "mobike = no\nunique = never\nkeyingtries = 0\nreauth_time = 0\nrekey_time = 4h\nfragmentation = yes"


def test_what_mcastd_does_anyway_is_not_named() -> None:
    assert noted(text(connection=SILENT, child="start_action = start")) == {}


def test_a_key_is_not_all_where_there_is_a_second_round() -> None:
    (peer,) = peers(text(connection="remote-2 { auth = xauth }", more="secrets { ike { secret = abc } }"))
    assert peer.psk is None
    assert not peer.complete


def test_the_key_is_the_one_of_both_identities() -> None:
    secrets = (
        "secrets { ike-1 { id-a = 222.45.67.1\nid-b = 177.54.214.20\nsecret = 0sa2V5\n}\nike-2 { secret = other } }"
    )
    assert peers(text(more=secrets))[0].psk == b"key"


def test_certificates() -> None:
    source = (
        text().replace("auth = psk", "auth = pubkey\ncerts = vm.pem").replace("id = 177.54.214.20", "cacerts = ca.pem")
    )
    (peer,) = peers(source.replace("auth = pubkey\ncerts = vm.pem\n      cacerts", "auth = pubkey\n cacerts"))
    assert peer.keys["local_cert"] == "/etc/swanctl/x509/vm.pem"
    assert peer.keys["ca_certs"] == ("/etc/swanctl/x509ca/ca.pem",)
    assert isinstance(peer.keys["local_key"], Missing)


def test_of_several_certificates_the_first_is_taken() -> None:
    source = text().replace("auth = psk", "auth = pubkey\ncerts = rsa.pem, ecdsa.pem")
    assert peers(source)[0].keys["local_cert"] == "/etc/swanctl/x509/rsa.pem"
    assert "ecdsa.pem" in noted(source)["certs"]


def test_a_certificate_in_a_section_is_named() -> None:
    source = text().replace("auth = psk", "auth = pubkey\ncert-1 { file = vm.pem }", 1)
    assert noted(source)["cert-1"] == "the section is not imported"


def test_a_section_from_which_others_inherit_is_read() -> None:
    source = text(more="base { encap = yes }\nunused { encap = yes }\nauthorities { }").replace("dc {", "dc : base {")
    assert peers(source)[0].keys["encap"] is True
    assert noted(source) == {"unused": "the section is not imported"}


def test_addresses_that_are_none_are_to_be_filled_in() -> None:
    (peer,) = peers(text().replace("177.54.214.20\n    local", "gw.example.com\n    local"))
    assert isinstance(peer.keys["remote"], Missing)
    assert peer.keys["remote_id"] == "177.54.214.20"


WORDS = st.sampled_from(
    [
        *("connections", "dc", "children", "local", "remote", "secrets", "ike", "{", "}", " ", "\n", "\x00"),
        *("auth = psk\n", "id = a\n", "secret = s\n", "proposals = x\n", "local_ts = 1\n", "rekey_time = 1\n"),
        *("if_id_in = %unique\n", "mode = transport\n", "certs = \n"),
    ]
)


@settings(max_examples=500, deadline=None)
@given(st.lists(WORDS | st.text(max_size=4)).map("".join))
def test_no_text_does_more_than_refuse(source: str) -> None:
    notes = Notes()
    lines = [1]
    try:
        found = peers(source, notes)
        toml(found, notes.problems)
    except ConfigError as error:
        lines = [problem.line for problem in error.problems]
    lines += [problem.line for problem in notes.problems]
    assert all(1 <= line <= source.count("\n") + 1 for line in lines)
