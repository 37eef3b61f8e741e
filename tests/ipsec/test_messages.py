from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from mcastd.config.certificates import Certificates
from mcastd.config.model import Peer
from mcastd.errors import DecodeError
from mcastd.ipsec import credentials, messages
from mcastd.ipsec.messages import PeerWithKey, Section
from tests.ipsec.charons import PSK, article, gre, tcp

# What list-sas of strongSwan 5.9.8 says of the article's peer.
LISTED: Section = {
    "dc": {
        "uniqueid": b"7",
        "version": b"2",
        "state": b"ESTABLISHED",
        "local-host": b"10.1.1.246",
        "local-port": b"4500",
        "local-id": b"222.45.67.1",
        "remote-host": b"177.54.214.20",
        "remote-id": b"177.54.214.20",
        "initiator": b"yes",
        "initiator-spi": b"29b1dd75e4f3ea5c",
        "responder-spi": b"8a8ae1b11a0bdc11",
        "nat-local": b"yes",
        "nat-any": b"yes",
        "encr-alg": b"AES_CBC",
        "encr-keysize": b"256",
        "integ-alg": b"HMAC_SHA2_256_128",
        "prf-alg": b"PRF_HMAC_SHA2_256",
        "dh-group": b"MODP_2048",
        "established": b"12",
        "rekey-time": b"12300",
        "child-sas": {
            "dc-tun-gre-3": {
                "name": b"dc-tun-gre",
                "uniqueid": b"3",
                "reqid": b"1",
                "state": b"INSTALLED",
                "mode": b"TUNNEL",
                "protocol": b"ESP",
                "encap": b"yes",
                "spi-in": b"c68f3599",
                "spi-out": b"2fb517a3",
                "encr-alg": b"AES_CBC",
                "encr-keysize": b"256",
                "integ-alg": b"HMAC_SHA2_256_128",
                "bytes-in": b"84",
                "packets-in": b"1",
                "bytes-out": b"168",
                "packets-out": b"2",
                "rekey-time": b"2925",
                "life-time": b"3588",
                "install-time": b"12",
                "if-id-in": b"0000001f",
                "if-id-out": b"0000001f",
                "local-ts": [b"10.44.6.1/32"],
                "remote-ts": [b"10.44.7.1/32"],
            }
        },
    }
}


def connection(peer: Peer, certificates: Certificates | None = None) -> dict[str, Any]:
    return messages.connection(PeerWithKey(peer, PSK if certificates is None else None, certificates))


def test_connection_says_what_the_article_agreed_on_and_leaves_nothing_to_charon() -> None:
    body = connection(article())["dc"]
    assert body["version"] == "2"
    assert body["proposals"] == ["aes256-sha256-modp2048"]
    assert "default" not in str(body)
    assert body["local"] == {"auth": "psk", "id": "222.45.67.1"}
    assert body["remote"] == {"auth": "psk", "id": "177.54.214.20"}
    assert body["unique"] == "no"
    assert body["mobike"] == "no"
    child = body["children"]["dc-tun-gre"]
    assert (child["local_ts"], child["remote_ts"]) == (["10.44.6.1/32"], ["10.44.7.1/32"])
    assert child["esp_proposals"] == ["aes256-sha256-modp2048"]
    assert (child["start_action"], child["close_action"], child["dpd_action"]) == ("none", "none", "clear")
    assert body["children"]["dc-tun-tcp"]["local_ts"] == ["10.45.8.16/28"]


def test_a_lifetime_is_the_hard_end_and_rekeying_comes_before() -> None:
    body = connection(article(lifetime=14400.0, children=(gre(lifetime=3600.0),)))["dc"]
    assert (body["rekey_time"], body["reauth_time"], body["over_time"]) == ("12960s", "0s", "1440s")
    child = body["children"]["dc-tun-gre"]
    assert (child["rekey_time"], child["life_time"]) == ("3240s", "3600s")


@pytest.mark.parametrize("lifetime", [2.0, 4.0, 10.0, 86400.0])
def test_there_is_a_second_at_least_to_renew_it_in(lifetime: float) -> None:
    body = connection(article(lifetime=lifetime, children=(gre(lifetime=lifetime),)))["dc"]
    child = body["children"]["dc-tun-gre"]
    assert int(body["over_time"].rstrip("s")) >= 1
    assert int(child["life_time"].rstrip("s")) - int(child["rekey_time"].rstrip("s")) >= 1


def test_ikev1_cannot_rekey_and_reauthenticates() -> None:
    body = connection(article(version=1))["dc"]
    assert (body["version"], body["rekey_time"], body["reauth_time"]) == ("1", "0s", "12960s")


def test_the_key_is_owned_by_both_identities_and_shows_in_no_text() -> None:
    wanted = PeerWithKey(article(), PSK)
    message = credentials.shared_key(wanted)
    assert message["data"] == PSK
    assert message["owners"] == ["222.45.67.1", "177.54.214.20"]
    assert "horse" not in repr(wanted) + str(wanted)
    assert "horse" not in str(connection(article()))


CERTIFICATES = Certificates(local=b"ours", key=b"a secret", authorities=(b"ca 1", b"ca 2"), remote=b"theirs")


def test_with_certificates_the_connection_has_them_and_no_pre_shared_key() -> None:
    body = connection(article(psk_file=None), CERTIFICATES)["dc"]
    assert body["local"] == {"auth": "pubkey", "id": "222.45.67.1", "certs": [b"ours"]}
    assert body["remote"] == {
        "auth": "pubkey", "id": "177.54.214.20", "cacerts": [b"ca 1", b"ca 2"], "certs": [b"theirs"]
    }  # fmt: skip
    wanted = PeerWithKey(article(), None, CERTIFICATES)
    assert credentials.private_key(CERTIFICATES)["data"] == b"a secret"
    assert "secret" not in str(body) + repr(wanted) + repr(CERTIFICATES)
    assert credentials.authorities(wanted) == {
        "mcastd-dc-1": {"mcastd-dc-1": {"cacert": b"ca 1"}},
        "mcastd-dc-2": {"mcastd-dc-2": {"cacert": b"ca 2"}},
    }


def test_their_certificate_is_trusted_by_itself_only_where_no_authority_is_named() -> None:
    assert credentials.trusted(CERTIFICATES) is None
    pinned = Certificates(local=b"ours", key=b"a secret", remote=b"theirs")
    assert credentials.trusted(pinned) == {"type": "X509", "flag": "NONE", "data": b"theirs"}
    assert "cacerts" not in connection(article(psk_file=None), pinned)["dc"]["remote"]


def test_reauthentication_is_instead_of_rekeying() -> None:
    body = connection(article(reauthentication=True))["dc"]
    assert (body["rekey_time"], body["reauth_time"], body["over_time"]) == ("0s", "12960s", "1440s")


@pytest.mark.parametrize(("version", "timeout"), [(1, None), (2, None)])
def test_without_dpd_nobody_is_asked(version: int, timeout: str | None) -> None:
    body = connection(article(version=version, dpd_delay=0.0))["dc"]
    assert (body["dpd_delay"], body.get("dpd_timeout")) == ("0s", timeout)


def test_the_modes_and_what_they_select() -> None:
    ends = {"local_ts": IPv4Network("222.45.67.1"), "remote_ts": IPv4Network("177.54.214.20")}
    any_ = IPv4Network("0.0.0.0/0")
    children = (
        gre(name="a", protocol="gre", replay_window=64),
        gre(name="b", mode="transport", protocol="gre", **ends),
        gre(name="c", mode="interface", if_id=7, local_ts=any_, remote_ts=any_),
    )
    body = connection(article(children=children, encap=True))["dc"]
    assert body["encap"] == "yes"
    a, b, c = (body["children"][name] for name in "abc")
    assert (a["mode"], a["local_ts"], a["remote_ts"]) == ("tunnel", ["10.44.6.1/32[47]"], ["10.44.7.1/32[47]"])
    assert (a["replay_window"], c["replay_window"]) == ("64", "1024")
    assert (b["mode"], b["local_ts"], b["remote_ts"]) == ("transport", ["dynamic[47]"], ["dynamic[47]"])
    assert (c["mode"], c["local_ts"], c["if_id_in"], c["if_id_out"]) == ("tunnel", ["0.0.0.0/0"], "7", "7")
    assert "if_id_in" not in a


def test_initiate_always_has_a_timeout_in_milliseconds() -> None:
    assert messages.initiate("dc", "dc-tun-gre", 15.0)["timeout"] == "15000"


def test_listed_sas_are_read_whole() -> None:
    (sa,) = messages.ike_sas(LISTED)
    assert (sa.name, sa.uniqueid, sa.up, sa.answered, sa.version) == ("dc", 7, True, True, 2)
    assert (sa.nat_local, sa.nat_remote, sa.age, sa.rekey_in, sa.reauth_in) == (True, False, 12.0, 12300.0, None)
    assert sa.proposal == "AES_CBC-256/HMAC_SHA2_256_128/MODP_2048"
    (child,) = sa.children
    assert (child.name, child.uniqueid, child.up, child.mode, child.encap) == ("dc-tun-gre", 3, True, "tunnel", True)
    assert (child.spi_in, child.spi_out) == ("c68f3599", "2fb517a3")
    assert (child.bytes_in, child.packets_in, child.bytes_out, child.packets_out) == (84, 1, 168, 2)
    assert child.proposal == "AES_CBC-256/HMAC_SHA2_256_128"
    assert child.if_id == 31
    assert (child.local_ts, child.remote_ts) == (("10.44.6.1/32",), ("10.44.7.1/32",))


def test_a_replaced_sa_whose_time_is_over_is_read_too() -> None:
    child: Section = {"name": b"dc-tun-gre", "state": b"DELETED", "rekey-time": b"-3", "life-time": b"-1"}
    (sa,) = messages.ike_sas({"dc": {"uniqueid": b"1", "reauth-time": b"-17", "child-sas": {"x": child}}})
    assert (sa.reauth_in, sa.children[0].rekey_in) == (0.0, 0.0)


@pytest.mark.parametrize("seconds", [4.0, 10.0, 3600.0, 14400.0])
@pytest.mark.parametrize("key", ["rekey_time", "reauth_time"])
def test_an_sa_tells_the_lifetime_that_it_was_made_with(seconds: float, key: str) -> None:
    body = connection(article(lifetime=seconds, reauthentication=key == "reauth_time"))["dc"]
    latest, spread = (int(body[name].rstrip("s")) for name in (key, "over_time"))
    for total in (latest, latest - spread):
        listed: Section = {"established": b"1", key.replace("_", "-"): str(total - 1).encode()}
        (sa,) = messages.ike_sas({"dc": listed})
        assert messages.made_with(seconds, sa)
        assert not messages.made_with(2 * seconds + 2, sa)
    (child,) = messages.ike_sas(LISTED)[0].children
    assert child.lifetime == 3600.0
    assert messages.child_made_with(3600.0, child)
    assert not messages.child_made_with(3610.0, child)


@pytest.mark.parametrize(
    ("listed", "words"), [(3600.0, "1h"), (3601.0, "1h"), (598.0, "10m"), (3603.0, "3603s"), (11.0, "11s")]
)
def test_a_lifetime_is_told_as_it_was_given_although_charon_rounds_it(listed: float, words: str) -> None:
    assert messages.in_words(listed) == words


def test_an_event_tells_what_came_up_and_by_which_spi() -> None:
    assert messages.came_up({"up": b"yes", **LISTED}) == (("dc", "dc-tun-gre", 0xC68F3599),)
    assert messages.came_up(LISTED) == ()  # it went down


def test_a_rekey_tells_the_new_one() -> None:
    def child(spi: bytes) -> Section:
        return {"name": b"dc-tun-gre", "spi-in": spi}

    event: Section = {"dc": {"child-sas": {"dc-tun-gre": {"old": child(b"00000001"), "new": child(b"00000002")}}}}
    assert messages.came_up(event) == (("dc", "dc-tun-gre", 2),)


def test_a_child_that_has_no_spi_yet_did_not_come_up() -> None:
    assert messages.came_up({"up": b"yes", "dc": {"child-sas": {"x": {"name": b"x", "state": b"CREATED"}}}}) == ()


def test_a_half_open_ike_sa_is_neither_up_nor_answered() -> None:
    (sa,) = messages.ike_sas({"dc": {"uniqueid": b"1", "state": b"CONNECTING", "responder-spi": b"0000000000000000"}})
    assert not sa.up
    assert not sa.answered
    assert sa.children == ()


@pytest.mark.parametrize(
    "body",
    [
        {"uniqueid": b"seven"},
        {"uniqueid": b"-1"},
        {"rekey-time": b"-"},
        {"rekey-time": b"--1"},
        {"uniqueid": b"9" * 5000},
        {"uniqueid": [b"7"]},
        {"state": {}},
        {"child-sas": {"x": {"local-ts": b"10.0.0.0/8"}}},
        {"child-sas": {"x": {"if-id-in": b"none"}}},
        {"child-sas": {"x": {"spi-in": b"none"}}},
        {"child-sas": {"x": {"spi-in": b"-1"}}},
        {"child-sas": {"x": {"spi-in": b"0x1"}}},
        {"child-sas": {"x": {"spi-in": b"123456789"}}},
        {"child-sas": {"x": {"spi-out": b"none"}}},
    ],
)
def test_values_that_are_not_what_their_key_says_are_refused(body: Section) -> None:
    with pytest.raises(DecodeError):
        messages.ike_sas({"dc": body})


def test_fingerprints_change_with_what_an_sa_depends_on_and_with_nothing_else() -> None:
    same = messages.ike_fingerprint(article())
    assert messages.ike_fingerprint(article(lifetime=1.0, retry_max=2.0, children=())) == same
    assert messages.ike_fingerprint(article(proposals=("aes128-sha1-modp1024",))) != same
    assert messages.ike_fingerprint(article(local_id="a")) != same
    assert messages.ike_fingerprint(article(version=1)) != same
    assert messages.ike_fingerprint(article(encap=True)) != same
    assert messages.ike_fingerprint(article(psk_file=None, local_cert=Path("a"), local_key=Path("b"))) != same
    assert messages.ike_fingerprint(article(psk_file=Path("/another"), reauthentication=True)) == same
    assert messages.child_fingerprint(gre(lifetime=1.0)) == messages.child_fingerprint(gre())
    assert messages.child_fingerprint(gre(mode="transport")) != messages.child_fingerprint(gre())
    assert messages.child_fingerprint(tcp()) != messages.child_fingerprint(gre())
    for change in ({"protocol": "gre"}, {"replay_window": 32}, {"mode": "interface", "if_id": 7}):
        assert messages.child_fingerprint(gre(**change)) != messages.child_fingerprint(gre())
    interface = gre(mode="interface", if_id=7)
    assert messages.child_fingerprint(gre(mode="interface", if_id=8)) != messages.child_fingerprint(interface)
