"""What is said of groups that are only expected, and of one group as a whole."""

from ipaddress import IPv4Address

from mcastd import group_report
from mcastd.forward.desired import ForwardedGroup
from mcastd.group_report import Known
from mcastd.group_status import EntryStatus, GroupReport, OriginStatus, ReceiverStatus
from mcastd.membership import DesiredGroup
from mcastd.net.mroute import Counts
from mcastd.status import GroupStatus, StreamStatus
from mcastd.streams.desired import StreamsSnapshot
from mcastd.wanted import APPLICATION, COMMAND, FILE, HOSTS, STATIC, Wanted

GROUP, OTHER = IPv4Address("239.1.1.1"), IPv4Address("239.1.1.2")
S1, S2, HOST = IPv4Address("10.9.0.1"), IPv4Address("10.9.0.2"), IPv4Address("192.168.1.5")
STREAM = StreamStatus(tunnel="gre1", source=str(S1), port=5000, state="arriving", packets=7, last_age=0.1)


class Clock:
    """Two counts of who wants what, and their clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.wanted, self.downstream = Wanted(lambda: self.now), Wanted(lambda: self.now)

    def known(self, **more: object) -> Known:
        given: dict[str, object] = {"joins": (), "streams": (), "arrival": StreamsSnapshot(), "sockets": {}, "own": ()}
        return Known(self.wanted, self.downstream, **{**given, "hosts": {}, "forwarded": {}, **more})  # type: ignore[arg-type]


def test_what_is_expected_says_by_whom_and_since_when() -> None:
    clock = Clock()
    clock.wanted.join("gre1", GROUP, None, FILE)
    clock.wanted.join("gre2", GROUP, S1, FILE)
    clock.wanted.join("gre2", OTHER, None, FILE)
    clock.now = 110.0
    clock.wanted.join("gre1", GROUP, None, COMMAND)
    clock.wanted.join("gre1", GROUP, S1, "eth1")
    assert tuple(group_report.expected(clock.wanted, ("gre1",), GROUP, 115.0)) == (
        GroupStatus(
            group=str(GROUP), source=None, tunnel="gre1", tunnels=("gre1",), state="expected",
            origins=(FILE, COMMAND), uptime=15.0,
        ),
        GroupStatus(
            group=str(GROUP), source=str(S1), tunnel="gre1", tunnels=("gre1", "gre2"), state="expected",
            origins=("eth1",), uptime=5.0,
        ),
    )  # fmt: skip
    assert tuple(group_report.expected(clock.wanted, ("gre1",), OTHER, 115.0)) == ()


def test_a_group_that_nothing_is_known_of() -> None:
    clock = Clock()
    clock.wanted.join("gre1", OTHER, None, FILE)
    clock.downstream.set_group("eth1", OTHER, HOSTS, DesiredGroup(True))
    known = clock.known(sockets={"gre1": {OTHER}})
    assert group_report.build(GROUP, known, 115.0) == GroupReport(group=str(GROUP))


def test_a_group_with_everything() -> None:
    clock = Clock()
    clock.wanted.join("gre1", GROUP, None, APPLICATION)
    clock.wanted.join("gre1", GROUP, None, "eth1", frozenset({S2, S1}))
    clock.now = 110.0
    clock.downstream.set_group("eth1", GROUP, HOSTS, DesiredGroup(True, excluded=frozenset({S1, S2})))
    clock.downstream.set_group("eth2", GROUP, HOSTS, DesiredGroup(sources=frozenset({S1, S2})))
    clock.downstream.join("eth2", GROUP, None, STATIC)
    join = GroupStatus(group=str(GROUP), source=None, tunnel="gre1", state="joined")
    known = clock.known(
        joins=(join,),
        streams=(STREAM,),
        sockets={"gre1": {GROUP}, "eth0": {GROUP}, "lo": {OTHER}},
        hosts={"eth1": {HOST: 3.0}},
        forwarded={
            ("gre1", None, str(GROUP)): ForwardedGroup(("eth1", "eth2"), Counts(7, 700, 2, 0.5)),
            ("gre2", str(S1), str(GROUP)): ForwardedGroup(()),
        },
    )
    assert group_report.build(GROUP, known, 115.0) == GroupReport(
        group=str(GROUP),
        origins=(
            OriginStatus(tunnel="gre1", origin=APPLICATION, source=None, age=15.0),
            OriginStatus(tunnel="gre1", origin="eth1", source=None, age=15.0, excluded=(str(S1), str(S2))),
        ),
        receivers=(
            ReceiverStatus(kind="application", interface="eth0"),
            ReceiverStatus(kind="application", interface="gre1", age=15.0),
            ReceiverStatus(kind="host", interface="eth1", address=str(HOST), age=3.0),
            ReceiverStatus(kind="hosts", interface="eth2", age=5.0),
            ReceiverStatus(kind="static", interface="eth2", age=5.0),
        ),
        joins=(join,),
        streams=(STREAM,),
        forwarded=(
            EntryStatus(
                tunnel="gre1", source=None, to=("eth1", "eth2"), packets=7, bytes=700, wrong_interface=2, last_age=0.5,
            ),
            EntryStatus(tunnel="gre2", source=str(S1), to=(), packets=0, bytes=0, wrong_interface=0, last_age=None),
        ),
    )  # fmt: skip
    assert "eth0" not in clock.wanted.memberships()


def test_a_socket_of_mcastd_itself_is_no_application() -> None:
    clock = Clock()
    clock.wanted.join("gre1", GROUP, None, FILE)
    known = clock.known(sockets={"gre1": {GROUP}}, own=("gre1",))
    assert group_report.build(GROUP, known, 115.0).receivers == ()
    clock.wanted.join("gre1", GROUP, None, APPLICATION)
    (receiver,) = group_report.build(GROUP, known, 115.0).receivers
    assert (receiver.kind, receiver.interface) == ("application", "gre1")
