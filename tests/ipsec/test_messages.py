from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from mcastd.config.credentials import Certificates
from mcastd.config.model import Peer
from mcastd.ipsec import credentials, messages
from mcastd.ipsec.messages import PeerWithKey
from mcastd.ipsec.sas import ChildSa, Section, ike_sas
from tests.ipsec.charons import PSK, article, gre, tcp


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
    desired = PeerWithKey(article(), PSK)
    message = credentials.shared_key(desired)
    assert message["data"] == PSK
    assert message["owners"] == ["222.45.67.1", "177.54.214.20"]
    assert "horse" not in repr(desired) + str(desired)
    assert "horse" not in str(connection(article()))


CERTIFICATES = Certificates(local=b"ours", key=b"a secret", authorities=(b"ca 1", b"ca 2"), remote=b"theirs")


def test_with_certificates_the_connection_has_them_and_no_pre_shared_key() -> None:
    body = connection(article(psk_file=None), CERTIFICATES)["dc"]
    assert body["local"] == {"auth": "pubkey", "id": "222.45.67.1", "certs": [b"ours"]}
    assert body["remote"] == {
        "auth": "pubkey", "id": "177.54.214.20", "cacerts": [b"ca 1", b"ca 2"], "certs": [b"theirs"]
    }  # fmt: skip
    desired = PeerWithKey(article(), None, CERTIFICATES)
    assert credentials.private_key(CERTIFICATES)["data"] == b"a secret"
    assert "secret" not in str(body) + repr(desired) + repr(CERTIFICATES)
    assert credentials.authorities(desired) == {
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
def test_without_dpd_no_peer_is_asked(version: int, timeout: str | None) -> None:
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


@pytest.mark.parametrize("seconds", [4.0, 10.0, 3600.0, 14400.0])
@pytest.mark.parametrize("key", ["rekey_time", "reauth_time"])
def test_an_sa_shows_the_lifetime_that_it_was_made_with(seconds: float, key: str) -> None:
    body = connection(article(lifetime=seconds, reauthentication=key == "reauth_time"))["dc"]
    latest, spread = (int(body[name].rstrip("s")) for name in (key, "over_time"))
    for total in (latest, latest - spread):
        listed: Section = {"established": b"1", key.replace("_", "-"): str(total - 1).encode()}
        (sa,) = ike_sas({"dc": listed})
        assert messages.made_with(seconds, sa)
        assert not messages.made_with(2 * seconds + 2, sa)
    child = ChildSa(install_time=12, life_time=3588)
    assert child.lifetime == 3600
    assert messages.child_made_with(3600.0, child)
    assert not messages.child_made_with(3610.0, child)


@pytest.mark.parametrize(
    ("listed", "words"), [(3600.0, "1h"), (3601.0, "1h"), (598.0, "10m"), (3603.0, "3603s"), (11.0, "11s")]
)
def test_a_lifetime_is_spelled_as_it_was_given_although_charon_rounds_it(listed: float, words: str) -> None:
    assert messages.spelled(listed) == words


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
