import pytest

from mcastd.errors import DecodeError
from mcastd.ipsec.sas import Section, ike_sas, new_children, spis

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
                "use-in": b"1",
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


def test_listed_sas_are_read_whole() -> None:
    (sa,) = ike_sas(LISTED)
    assert (sa.name, sa.uniqueid, sa.up) == ("dc", 7, True)
    assert (sa.nat_local, sa.nat_remote, sa.established, sa.rekey_time, sa.reauth_time) == ("yes", "", 12, 12300, None)
    assert sa.proposal == "AES_CBC-256/HMAC_SHA2_256_128/MODP_2048"
    (child,) = sa.children
    assert (child.name, child.uniqueid, child.up, child.mode, child.encap) == ("dc-tun-gre", 3, True, "TUNNEL", "yes")
    assert (child.spi_in, child.spi_out) == ("c68f3599", "2fb517a3")
    assert (child.bytes_in, child.packets_in, child.bytes_out, child.packets_out) == (84, 1, 168, 2)
    assert (child.use_in, child.use_out) == (1, None)
    assert child.proposal == "AES_CBC-256/HMAC_SHA2_256_128"
    assert child.if_id == 31
    assert child.lifetime == 3600


def test_a_replaced_sa_whose_time_is_over_is_read_too() -> None:
    child: Section = {"name": b"dc-tun-gre", "state": b"DELETED", "rekey-time": b"-3", "life-time": b"-1"}
    (sa,) = ike_sas({"dc": {"uniqueid": b"1", "reauth-time": b"-17", "child-sas": {"x": child}}})
    assert (sa.reauth_time, sa.children[0].rekey_time, sa.children[0].lifetime) == (-17, -3, None)


def test_an_event_names_what_came_up_and_by_which_spi() -> None:
    assert new_children({"up": b"yes", **LISTED}) == (("dc", "dc-tun-gre", 0xC68F3599),)
    assert new_children(LISTED) == ()  # it went down


def test_a_rekey_names_the_new_one() -> None:
    def child(spi: bytes) -> Section:
        return {"name": b"dc-tun-gre", "spi-in": spi}

    event: Section = {"dc": {"child-sas": {"dc-tun-gre": {"old": child(b"00000001"), "new": child(b"00000002")}}}}
    assert new_children(event) == (("dc", "dc-tun-gre", 2),)


def test_a_child_that_has_no_spi_yet_did_not_come_up() -> None:
    assert new_children({"up": b"yes", "dc": {"child-sas": {"x": {"name": b"x", "state": b"CREATED"}}}}) == ()


def test_a_half_open_ike_sa_is_not_up() -> None:
    (sa,) = ike_sas({"dc": {"uniqueid": b"1", "state": b"CONNECTING", "responder-spi": b"0000000000000000"}})
    assert not sa.up
    assert sa.children == []


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
        {"child-sas": {"x": b"none"}},
        {"child-sas": {"x": {"spi-in": b"1\n"}}},
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
        ike_sas({"dc": body})


def test_the_spis_of_all_that_may_come_in() -> None:
    assert spis(ike_sas(LISTED)) == {0xC68F3599}
    assert spis(ike_sas({"dc": {"child-sas": {"x": {"name": b"x", "state": b"CREATED"}}}})) == frozenset()


def test_what_is_no_ike_sa_is_left_out_and_what_is_no_utf_8_is_replaced() -> None:
    (sa,) = ike_sas({"up": b"yes", "dc": {"state": b"\xff"}})
    assert (sa.name, sa.state) == ("dc", "\ufffd")


def test_values_of_unknown_keys_may_be_anything() -> None:
    assert len(ike_sas({"dc": {"tasks-active": [b"IKE_DPD"], "remote-vips": [], "more": {"x": b"y"}}})) == 1
