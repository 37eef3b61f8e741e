"""Where a host lost packets: each cause is told apart by the row with the most."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from msgspec.structs import replace

from mcastd.net.sock_diag import UdpSocket
from mcastd.stream_status import DestinationCount, LossStatus, StreamCount, StreamMeasure, StreamNumbers
from mcastd.streams.losses import losses, receives

GROUP = IPv4Address("239.1.1.1")
LOCAL = DestinationCount(interface=None, packets=1000)
NUMBERS = StreamNumbers(seen=1000, missing=0, awaited=0, duplicate=0, late=0, resets=0)
MEASURED = StreamMeasure(
    unit=0, packets=1000, longest_gap=0.1, longest_gap_age=1.0, gaps=(999,), burst_1ms=1, burst_10ms=10, unnumbered=0,
    numbers=NUMBERS,
)  # fmt: skip
STREAM = StreamCount(
    tunnel="gre1", source="100.15.30.5", group=str(GROUP), port=5000, state="arriving", packets=1000, bytes=1,
    rate=1.0, last_age=0.0, destinations=(LOCAL,), measured=(MEASURED,),
)  # fmt: skip
QUIET = {
    "nic/eth0/errors": 0, "nic/eth0/dropped": 0, "nic/eth0/frame": 0, "cloud/eth0/pps": 0, "softnet//dropped": 0,
    "esp//replay": 0, "esp//integrity": 0, "interface/gre1/dropped": 0, "interface/docker0/dropped": 900,
    "host//reverse_path_filter": 0,
}  # fmt: skip
SOCKET = UdpSocket(5000, IPv4Address(0), 1000, 4711, 0, 212992, 0)
JOINED = {"gre1": {GROUP}}


def worst(found: tuple[LossStatus, ...]) -> list[tuple[str, str, int | None, str]]:
    return [(one.stage, one.subject, one.packets, one.text) for one in found if one.worst]


def test_the_rows_are_in_the_order_of_the_path_and_without_a_loss_none_is_the_worst() -> None:
    found = losses(QUIET, [STREAM], JOINED, [SOCKET])
    assert [one.stage for one in found] == ["sequence", "nic", "cloud", "softnet", "esp", "tunnel", "host", "socket"]
    assert {one.packets for one in found} == {0}
    assert worst(found) == []


@pytest.mark.parametrize(
    ("counter", "stage", "subject", "text"),
    [
        ("nic/eth0/dropped", "nic", "eth0", "dropped 7"),
        ("cloud/eth0/pps", "cloud", "eth0", "pps 7"),
        ("softnet//dropped", "softnet", "", "of all traffic"),
        ("esp//replay", "esp", "", "replay 7"),
        ("interface/gre1/dropped", "tunnel", "gre1", "dropped 7"),
    ],
)
def test_a_counter_that_has_grown_is_its_row(counter: str, stage: str, subject: str, text: str) -> None:
    assert worst(losses({**QUIET, counter: 7}, [STREAM], JOINED, [])) == [(stage, subject, 7, text)]


def test_of_a_group_that_never_arrived_there_are_the_places_of_all_traffic() -> None:
    assert worst(losses(QUIET, [], JOINED, [])) == []
    assert worst(losses({**QUIET, "nic/eth0/dropped": 7}, [], JOINED, []))[0][0] == "nic"


def test_what_the_tunnels_sa_lost_has_a_row_of_its_own() -> None:
    lost = {**QUIET, "esp/c1/lost": 12, "esp//replay": 2, "esp/c2/lost": 99}
    found = losses(lost, [STREAM], JOINED, [], children={"gre1": "c1", "gre2": "c2"})
    assert [(one.subject, one.packets) for one in found if one.stage == "esp"] == [("c1", 12), ("", 2)]
    assert worst(found)[0][:3] == ("esp", "c1", 12)


def numbered(**changes: int) -> StreamCount:
    return replace(STREAM, measured=(replace(MEASURED, numbers=replace(NUMBERS, **changes)),))


def test_what_is_missing_by_the_senders_numbers_is_lost_before_this_host_unless_a_place_before_the_tunnel_lost_it() -> (
    None
):
    streams = [numbered(missing=100, awaited=30, late=23, duplicate=41), numbered(missing=7)]
    text = "23 came late, 41 twice; since measuring began"
    assert worst(losses(QUIET, streams, JOINED, [SOCKET])) == [("sequence", "", 137, text)]
    assert worst(losses({**QUIET, "nic/eth0/dropped": 8}, streams, JOINED, [SOCKET]))[0][0] == "sequence"
    for name, stage in (("esp/c1/lost", "esp"), ("interface/gre1/socket_full", "tunnel"), ("nic/eth0/dropped", "nic")):
        found = losses({**QUIET, name: 137}, streams, JOINED, [], children={"gre1": "c1"})
        assert worst(found)[0][::2] == (stage, 137)
    most = {**QUIET, "esp/c1/lost": 136}  # the last one was lost when this had been read
    assert worst(losses(most, streams, JOINED, [], children={"gre1": "c1"}))[0][::2] == ("esp", 136)
    assert worst(losses(QUIET, streams, JOINED, [SOCKET._replace(dropped=138)]))[0][0] == "socket"
    assert worst(losses(QUIET, [replace(one, dropped=70) for one in streams], JOINED, []))[0][0] == "sequence"
    unread = losses(QUIET, [replace(STREAM, measured=())], JOINED, [])[0]
    assert (unread.packets, unread.text) == (None, "no sequence numbers are read")


def test_missing_messages_are_compared_as_the_packets_that_they_were_in() -> None:
    messages = numbered(seen=5000, missing=500)  # in 1,000 packets
    found = losses({**QUIET, "nic/eth0/dropped": 100}, [messages], JOINED, [])
    assert found[0].packets == 500
    assert worst(found)[0][::2] == ("nic", 100)
    assert worst(losses(QUIET, [messages], JOINED, [SOCKET._replace(dropped=101)]))[0][0] == "socket"
    assert worst(losses(QUIET, [messages], JOINED, [SOCKET._replace(dropped=99)]))[0][0] == "sequence"
    assert worst(losses(QUIET, [numbered(seen=5000, missing=1)], JOINED, []))[0][0] == "sequence"


def test_a_firewall_that_drops_some_and_what_drops_all() -> None:
    some = losses(QUIET, [replace(STREAM, dropped=20)], JOINED, [SOCKET])
    assert worst(some) == [("host", "239.1.1.1 port 5000 from 100.15.30.5 on gre1", 20, "")]
    none = replace(STREAM, destinations=())
    assert worst(losses(QUIET, [none], JOINED, []))[0][2:] == (1000, "all: its firewall (hook input)")
    filtered = losses({**QUIET, "host//reverse_path_filter": 990}, [none], JOINED, [])
    assert worst(filtered)[0][2:] == (1000, "all: the reverse path filter")
    ended = replace(STREAM, destinations=(replace(LOCAL, withheld=300),), dropped=20)
    since = losses({**QUIET, "host//reverse_path_filter": 300}, [ended], JOINED, [])
    assert worst(since)[0][2:] == (320, "all since the last one that was passed on: the reverse path filter")
    assert worst(losses(QUIET, [ended, STREAM], JOINED, []))[0][2:] == (20, "")
    assert worst(losses(QUIET, [ended], {}, []))[0][2:] == (20, "")
    forwarded = replace(ended, destinations=(*ended.destinations, DestinationCount(interface="eth1", packets=1000)))
    assert worst(losses(QUIET, [forwarded], JOINED, []))[0][2] == 320
    unjoined = losses(QUIET, [none], {}, [])
    assert worst(unjoined) == []
    assert unjoined[-1].text == "no socket has joined it"


def test_a_socket_that_is_too_small_and_one_that_is_not_read() -> None:
    small, stopped = SOCKET._replace(dropped=30), SOCKET._replace(dropped=30, queued=212000)
    assert worst(losses(QUIET, [STREAM], JOINED, [SOCKET, small]))[0][3].endswith("too small for bursts")
    assert worst(losses(QUIET, [STREAM], JOINED, [stopped]))[0][3].endswith("does not read, or too slowly")


def test_what_the_group_lost_comes_before_what_all_traffic_lost() -> None:
    others = {**QUIET, "nic/eth0/dropped": 5000}
    assert worst(losses(others, [replace(STREAM, dropped=20)], JOINED, [SOCKET]))[0][::2] == ("host", 20)
    assert worst(losses(others, [STREAM], JOINED, [SOCKET._replace(dropped=3)]))[0][::2] == ("socket", 3)
    assert worst(losses(others, [STREAM], JOINED, [SOCKET]))[0][::2] == ("nic", 5000)


def test_what_a_socket_dropped_before_the_period_does_not_make_it_the_worst() -> None:
    old = SOCKET._replace(dropped=90_000)
    none = losses({**QUIET, "socket//receive_buffer": 0}, [STREAM], JOINED, [old])
    assert worst(none) == []
    assert none[-1].packets == 90_000
    some = losses({**QUIET, "socket//receive_buffer": 8}, [replace(STREAM, dropped=20)], JOINED, [old])
    assert worst(some)[0][::2] == ("host", 20)


def test_a_stream_beside_one_that_is_passed_on_may_be_of_a_source_that_no_socket_wants() -> None:
    other = replace(STREAM, source="100.15.30.6", destinations=())
    found = losses(QUIET, [STREAM, other], JOINED, [SOCKET])
    assert worst(found) == []
    assert [(one.packets, one.text) for one in found if one.stage == "host"] == [(0, ""), (0, "nothing is passed on")]


def test_of_ten_thousand_streams_of_a_group_those_that_lost_most_have_a_row() -> None:
    streams = [replace(STREAM, port=port, dropped=port % 1000) for port in range(1, 10_001)]
    rows = [one for one in losses(QUIET, streams, JOINED, []) if one.stage == "host"]
    assert len(rows) == 17
    assert sorted(one.packets or 0 for one in rows[:-1]) == [998] * 6 + [999] * 10
    assert rows[-1].subject == "9984 other streams"
    assert sum(one.packets or 0 for one in rows) == sum(one.dropped for one in streams)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (IPv4Address(0), True), (GROUP, True), (IPv4Address("239.1.1.2"), False), (IPv4Address("10.0.0.1"), False),
        (IPv6Address(0), True), (IPv6Address("::ffff:239.1.1.1"), True), (IPv6Address("::ffff:0.0.0.0"), True),
        (IPv6Address("::ffff:239.1.1.2"), False), (IPv6Address("fe80::1"), False),
    ],
)  # fmt: skip
def test_a_socket_that_is_bound_to_another_address_is_not_of_the_group(
    address: IPv4Address | IPv6Address, expected: bool
) -> None:
    assert receives(SOCKET._replace(address=address), GROUP) is expected


def test_sockets_that_cannot_be_asked_for_are_not_measured() -> None:
    row = losses(QUIET, [STREAM], JOINED, [], "sock_diag: no answer")[-1]
    assert (row.stage, row.packets, row.text) == ("socket", None, "sock_diag: no answer")


def test_what_is_not_counted_is_not_measured() -> None:
    found = losses({"nic/eth0/dropped": 0}, [STREAM], JOINED, [])
    assert [(one.stage, one.text) for one in found if one.packets is None] == [
        ("cloud", "the driver counts none"), ("softnet", "of all traffic"), ("esp", "the kernel counts none"),
        ("tunnel", ""),
    ]  # fmt: skip
    userspace = losses({**QUIET, "interface/ipsec0/dropped": 0}, [STREAM], JOINED, [])
    assert next(one for one in userspace if one.stage == "esp").packets is None
