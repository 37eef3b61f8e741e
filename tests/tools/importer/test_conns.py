from ipaddress import IPv4Address
from pathlib import Path

import pytest

from mcastd.tools.importer.conns import Side, drafts
from mcastd.tools.importer.draft import Missing, Notes, PeerDraft
from mcastd.tools.importer.ipsecconf import parse
from mcastd.tools.importer.keys import Secret
from mcastd.tools.importer.secrets import Secrets

FILE = Path("ipsec.conf")
ENDS = "left=10.1.1.246\nleftid=222.45.67.1\nright=177.54.214.20\nrightid=177.54.214.20\n"
STRICT = "keyexchange=ikev2\nauthby=secret\nike=aes256-sha256-modp2048!\nesp=aes256-sha256-modp2048!\nauto=start\n"


def conn(settings: str, name: str = "dc") -> str:
    return f"conn {name}\n" + "".join(f"\t{line}\n" for line in settings.splitlines())


def peers(
    text: str, notes: Notes | None = None, *, local: Side | None = None, keys: Secrets | None = None
) -> list[PeerDraft]:
    return drafts(parse(text, FILE), keys or Secrets(), notes or Notes(), local)


def noted(text: str) -> dict[str, tuple[int, str]]:
    notes = Notes()
    peers(text, notes)
    return {problem.key: (problem.line, problem.text) for problem in notes.problems}


def only_child(text: str) -> dict[str, object]:
    (peer,) = peers(text)
    (child,) = peer.children
    return dict(child.keys)


def test_conns_that_agree_are_one_peer_by_the_name_of_what_they_share() -> None:
    shared = conn(ENDS + STRICT.replace("auto=start\n", ""), "dc-tun")
    found = peers(
        shared + conn("also=dc-tun\nauto=start", "one") + conn("also=dc-tun\nleftsubnet=10.0.0.0/8\nauto=start", "two")
    )
    assert [(peer.name, [child.name for child in peer.children]) for peer in found] == [("dc-tun", ["one", "two"])]
    assert found[0].keys["psk_file"] == "dc-tun.psk"


def test_conns_to_another_gateway_are_another_peer() -> None:
    found = peers(conn(ENDS + STRICT, "one") + conn(ENDS.replace("177.54.214.20", "177.54.214.21") + STRICT, "two"))
    assert [peer.name for peer in found] == ["one", "two"]


def test_only_what_charon_loads_is_carried_over() -> None:
    found = peers(conn(ENDS + STRICT, "one") + conn(ENDS + STRICT.replace("start", "ignore"), "off"))
    assert [child.name for peer in found for child in peer.children] == ["one"]


def test_where_nothing_is_loaded_it_is_what_nobody_inherits() -> None:
    found = peers(conn(ENDS + STRICT.replace("auto=start\n", ""), "base") + conn("also=base", "one"))
    assert [child.name for peer in found for child in peer.children] == ["one"]


@pytest.mark.parametrize(
    ("left", "right", "local"),
    [
        ("10.1.1.246", "177.54.214.20", "10.1.1.246"),
        ("177.54.214.20", "10.1.1.246", "10.1.1.246"),
        ("222.45.67.1", "177.54.214.20", "222.45.67.1"),
        ("10.1.1.246", "10.9.9.9", "10.1.1.246"),
        ("177.54.214.20", "%defaultroute", None),
        ("%any", "177.54.214.20", None),
    ],
)
def test_which_side_is_ours(left: str, right: str, local: str | None) -> None:
    (peer,) = peers(conn(f"left={left}\nright={right}\nleftsubnet=10.1.0.0/16\nrightsubnet=10.2.0.0/16\n{STRICT}"))
    if local is None:
        assert isinstance(peer.keys["local"], Missing)
        assert peer.keys["remote"] == "177.54.214.20"
        assert not peer.complete
    else:
        assert peer.keys["local"] == local
        ours = "10.1.0.0/16" if local == left else "10.2.0.0/16"
        assert peer.children[0].keys["local_ts"] == ours


def test_a_side_with_an_address_of_this_host_is_ours() -> None:
    text = conn(f"left=10.1.1.246\nright=10.9.9.9\n{STRICT}")
    for here, local in (("10.9.9.9", "10.9.9.9"), ("10.1.1.246", "10.1.1.246"), ("10.3.3.3", "10.1.1.246")):
        (peer,) = drafts(parse(text, FILE), Secrets(), Notes(), own={IPv4Address(here)})
        assert peer.keys["local"] == local


def test_the_sides_can_be_told() -> None:
    (peer,) = peers(conn(ENDS + STRICT), local="right")
    assert (peer.keys["local"], peer.keys["remote_id"]) == ("177.54.214.20", "222.45.67.1")


def test_selectors_without_subnets_are_the_ends() -> None:
    assert only_child(conn(ENDS + STRICT))["local_ts"] == "10.1.1.246/32"


def test_several_subnets_become_a_child_for_each_pair() -> None:
    notes = Notes()
    text = conn(ENDS + STRICT + "leftsubnet=10.0.0.0/24,10.0.1.0/24\nrightsubnet=10.2.0.0/16, 10.3.0.0/16")
    (peer,) = peers(text, notes)
    pairs = [(child.name, child.keys["local_ts"], child.keys["remote_ts"]) for child in peer.children]
    assert pairs == [
        ("dc", "10.0.0.0/24", "10.2.0.0/16"),
        ("dc-2", "10.0.0.0/24", "10.3.0.0/16"),
        ("dc-3", "10.0.1.0/24", "10.2.0.0/16"),
        ("dc-4", "10.0.1.0/24", "10.3.0.0/16"),
    ]
    assert any("a CHILD_SA for each pair" in problem.text and problem.line == 11 for problem in notes.problems)


@pytest.mark.parametrize(
    "gre", ["leftprotoport=gre", "leftprotoport=47/%any\nrightprotoport=47", "leftsubnet=10.1.1.246/32[gre]"]
)
def test_gre_alone(gre: str) -> None:
    assert only_child(conn(ENDS + STRICT + gre))["protocol"] == "gre"


def test_transport_mode() -> None:
    found = only_child(conn(ENDS + STRICT + "type=transport\nleftprotoport=gre\nrightprotoport=gre"))
    assert found == {"mode": "transport", "proposals": ("aes256-sha256-modp2048",)}
    assert only_child(conn(ENDS + STRICT + "type=transport"))["protocol"] == "any"


def test_what_is_set_is_carried_over() -> None:
    text = (
        ENDS
        + STRICT.replace("ikev2", "ikev1")
        + "ikelifetime=8h\nkeylife=20m\ndpddelay=15\nforceencaps=yes\nreplay_window=64"
    )
    (peer,) = peers(conn(text))
    assert peer.keys["version"] == 1
    assert peer.keys["lifetime"] == "8h"
    assert peer.keys["dpd_delay"] == "15s"
    assert peer.keys["encap"] is True
    assert peer.children[0].keys["lifetime"] == "20m"
    assert peer.children[0].keys["replay_window"] == 64


def test_reauthentication_is_carried_over_where_it_is_asked_for_and_else_noted() -> None:
    assert peers(conn(ENDS + STRICT + "reauth=yes"))[0].keys["reauthentication"] is True
    assert peers(conn(ENDS + STRICT + "reauth=no"))[0].keys["reauthentication"] is False
    assert "reauthentication" not in peers(conn(ENDS + STRICT + "ikelifetime=1h"))[0].keys
    assert "reauth" in noted(conn(ENDS + STRICT + "ikelifetime=1h"))


def test_dpd_that_is_off_stays_off() -> None:
    assert peers(conn(ENDS + STRICT + "dpdaction=none\ndpddelay=30"))[0].keys["dpd_delay"] == "0s"


@pytest.mark.parametrize(
    ("setting", "key", "words"),
    [
        ("leftfirewall=yes", "leftfirewall", "its own firewall rules"),
        ("rightsourceip=10.3.0.0/24", "rightsourceip", "no virtual address"),
        ("mark=42", "mark", 'mode = "interface"'),
        ("auto=up", "auto", "allowed: ignore, add, route, start"),
        ("compress=yes", "compress", "not imported"),
        ("closeaction=clear", "closeaction", "not imported"),
        ("leftauth=eap-mschapv2", "leftauth", "keys and certificates"),
        ("ikelifetime=0", "ikelifetime", "unlimited"),
        ("keylife=60d", "keylife", "becomes 30d"),
        ("replay_window=9999", "replay_window", "0 to 4096"),
        ("leftsubnet=10.45.8.17/28", "leftsubnet", "becomes 10.45.8.16/28"),
        ("dpdtimeout=120s", "dpdtimeout", "retransmission"),
        ("dpdaction=clear", "dpdaction", "re-establishes"),
        ("keyingtries=3", "keyingtries", "%forever"),
        ("mobike=yes", "mobike", "not imported"),
        ("keyexchange=ike", "keyexchange", "IKEv2 only"),
        ("ike=aes256-sha256-modp2048", "ike", "without a !"),
        ("esp=nonsense,aes256-sha256!", "esp", "nonsense is ignored"),
        ("ikelifetime=soon", "ikelifetime", "not a time"),
        ("leftsubnet=fe80::/10", "leftsubnet", "IPv4 prefix"),
        ("leftsubnet=10.0.0.0/8[tcp/80]", "leftsubnet", "GRE, or any"),
        ("rightprotoport=udp/1701", "rightprotoport", "GRE, or any"),
        ("auto=route", "auto", "itself"),
        ("authby=xauthpsk", "authby", "keys and certificates"),
        ("type=passthrough", "type", "ignored"),
    ],
)
def test_what_is_not_carried_over_is_named_with_its_line(setting: str, key: str, words: str) -> None:
    settings = "\n".join(line for line in STRICT.splitlines() if not line.startswith(f"{setting.split('=')[0]}="))
    text = conn(f"{ENDS}{settings}\n{setting}")
    line, said = noted(text)[key]
    assert words in said
    assert line == len(text.splitlines())


def test_what_mcastd_does_anyway_is_not_named() -> None:
    text = conn(
        ENDS + STRICT + "keyingtries=%forever\nmobike=no\nrekey=yes\ndpdaction=restart\ndpddelay=30s\ntype=tunnel\n"
        "closeaction=restart\nfragmentation=yes\ncompress=no\nleftsendcert=always\nreplay_window=-1"
    )
    assert noted("config setup\n\tuniqueids=no\n" + text) == {}


def test_without_proposals_they_are_to_be_filled_in() -> None:
    (peer,) = peers(conn(ENDS + "authby=secret\nauto=start"))
    assert isinstance(peer.keys["proposals"], Missing)
    assert isinstance(peer.children[0].keys["proposals"], Missing)
    assert not peer.complete


def test_the_key_is_the_one_of_both_identities() -> None:
    keys = Secrets((Secret(("222.45.67.1", "177.54.214.20"), b"key"),))
    assert peers(conn(ENDS + STRICT), keys=keys)[0].psk == b"key"


def test_certificates() -> None:
    text = ENDS + STRICT.replace("authby=secret\n", "") + "leftcert=vm.pem\nrightcert=/certs/dc.pem"
    (peer,) = peers(conn(text))
    assert peer.keys["local_cert"] == "/etc/ipsec.d/certs/vm.pem"
    assert peer.keys["remote_cert"] == "/certs/dc.pem"
    assert isinstance(peer.keys["local_key"], Missing)
    assert "psk_file" not in peer.keys


def test_a_conn_of_whose_networks_nothing_is_left_is_left_out() -> None:
    six = conn(f"{ENDS}{STRICT}leftsubnet=fd00::/64\nrightsubnet=fd01::/64", "six")
    assert [peer.name for peer in peers(six + conn(ENDS + STRICT))] == ["dc"]
    assert noted(six)["six"] == (1, "the conn is ignored: none of its networks can be imported")


def test_blanks_around_proposals_are_none_of_theirs() -> None:
    (peer,) = peers(
        conn(ENDS + STRICT.replace("ike=aes256-sha256-modp2048!", "ike = aes256-sha256-modp2048 , 3des-md5-modp1024 !"))
    )
    assert peer.keys["proposals"] == ("aes256-sha256-modp2048", "3des-md5-modp1024")


def test_what_is_on_a_smartcard_is_to_be_filled_in() -> None:
    (peer,) = peers(conn(ENDS + STRICT.replace("authby=secret\n", "") + "leftcert=%smartcard:45"))
    assert isinstance(peer.keys["local_cert"], Missing)
