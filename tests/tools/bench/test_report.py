"""What each stage lost, from its counters; and what follows from it."""

from collections.abc import Mapping

import pytest

from mcastd.tools.bench import report
from mcastd.tools.bench.plan import Buffer, Burst, Counts, Sent
from mcastd.tools.bench.report import Run, Stage

BURST = Burst(group="239.1.1.1", port=5000, packets=1000, size=250, within=0.1, bursts=1, pause=0.0)
ALLOWED = 212992
WHOLE = {"dev/veth0": 1000, "dev/gre1": 1000, "esp": 1000}


def counts(received: int, dropped: int = 0, counters: Mapping[str, int] = WHOLE) -> Counts:
    return Counts(received=received, dropped=dropped, size=425984, most=4096, counters=dict(counters))


BEFORE = counts(
    0, 0, {"dev/veth0": 7, "dev/gre1": 5, "esp": 3, "Udp/NoPorts": 9, "pump/gre_short": 4, "esp//replay": 8}
)


def grown(**changes: int) -> dict[str, int]:
    """The counters behind a run, for what has been added to those before it."""
    names = {name.replace("__", "//").replace("_of_", "/"): count for name, count in changes.items()}
    all_names = WHOLE | names
    return {name: BEFORE.counters.get(name, 0) + count for name, count in all_names.items()}


def lost(found: tuple[Stage, ...]) -> dict[str, int | None]:
    return {one.stage: one.lost for one in found}


def test_nothing_is_lost_where_all_counters_agree() -> None:
    found = report.stages(BEFORE, counts(1000, 0, grown()), 1000, has_esp=True)
    assert lost(found) == dict.fromkeys(("softnet", "esp", "gre", "udp", "receive_buffer"), 0)
    assert report.is_settled(found)


def test_each_loss_is_that_of_the_stage_behind_which_packets_are_missing() -> None:
    after = grown(
        dev_of_veth0=990, softnet__dropped=10, esp=970, esp__replay=20, dev_of_gre1=940, pump_of_gre_short=30,
        Udp_of_NoPorts=40, Udp_of_RcvbufErrors=50,
    )  # fmt: skip
    found = report.stages(BEFORE, counts(850, 50, after), 1000, has_esp=True)
    assert lost(found) == {"softnet": 10, "esp": 20, "gre": 30, "udp": 40, "receive_buffer": 50}
    assert [one.reasons for one in found] == [
        {"backlog_full": 10}, {"replay": 20}, {"gre_short": 30}, {"no_port": 40}, {"full": 50},
    ]  # fmt: skip
    assert [one.arrived for one in found] == [1000, 990, 970, 940, 900]
    assert report.is_settled(found)


def test_without_esp_gre_follows_on_softnet() -> None:
    found = report.stages(BEFORE, counts(1000, 0, grown(dev_of_gre1=1000)), 1000, has_esp=False)
    assert lost(found) == dict.fromkeys(("softnet", "gre", "udp", "receive_buffer"), 0)


def test_what_no_counter_has_a_reason_for_may_be_on_its_way() -> None:
    found = report.stages(BEFORE, counts(600, 0, grown(dev_of_gre1=900)), 1000, has_esp=True)
    assert lost(found) == {"softnet": 0, "esp": 0, "gre": 100, "udp": 300, "receive_buffer": 0}
    assert not report.is_settled(found)


def test_a_stage_behind_which_there_is_more_than_arrived_is_not_measured() -> None:
    found = report.stages(BEFORE, counts(1000, 0, grown(dev_of_veth0=1002)), 1000, has_esp=True)
    assert (found[0].lost, found[0].arrived) == (None, None)
    assert found[0].why == "1,000 packets arrived there, and 1,002 behind it"
    assert not report.is_settled(found)


@pytest.mark.parametrize(
    ("took", "refused", "reached"), [(0.1, 0, True), (0.106, 0, True), (0.108, 0, False), (0.1, 1, False)]
)
def test_a_pace_is_reached_if_all_was_sent_in_time(took: float, refused: int, reached: bool) -> None:
    sent = Sent(packets=1000 - refused, refused=refused, took=took, late=0.0)
    one = report.run(BURST, Buffer(asked=None), 0.0, sent, BEFORE, counts(1000 - refused, 0, grown()), has_esp=True)
    assert (one.pace_reached, one.lost) == (reached, refused)
    assert report.has_lost([one], None) is not reached
    assert not report.has_lost([one], ALLOWED), "another receive buffer was chosen"


def of(asked: int | None, full: int = 0, *, took: float = 0.1, stall: float = 0.0, udp: int = 0) -> Run:
    """A run whose receive buffer had no room for ``full`` packets."""
    sent = Sent(packets=1000, refused=0, took=took, late=0.0)
    after = grown(Udp_of_RcvbufErrors=full, Udp_of_NoPorts=udp)
    buffer = Buffer(asked=asked, forced=asked is not None and asked > ALLOWED)
    return report.run(BURST, buffer, stall, sent, BEFORE, counts(1000 - full - udp, full, after), has_esp=True)


SEEN = "(at most 4 KiB of it were seen in use)"


@pytest.mark.parametrize(
    ("runs", "advice"),
    [
        (
            (of(None, 5), of(ALLOWED, 3), of(4 << 20), of(16 << 20)),
            f"net.core.rmem_max 212992 is too small for this burst: 4 MiB carried it {SEEN}",
        ),
        (
            (of(None, 5), of(ALLOWED), of(4 << 20)),
            "net.core.rmem_default is too small for this burst: 208 KiB carried it "
            f"{SEEN}; an application has to ask for it (SO_RCVBUF), which net.core.rmem_max 212992 allows",
        ),
        (
            (of(None), of(ALLOWED), of(4 << 20)),
            f"the default receive buffer (net.core.rmem_default) carried this burst {SEEN}",
        ),
        (
            (of(None), of(None, 7, stall=0.02), of(ALLOWED, 1), of(4 << 20), of(4 << 20, stall=0.02)),
            f"net.core.rmem_max 212992 is too small for this burst: 4 MiB carried it {SEEN}",
        ),
        (
            (of(None, 9), of(ALLOWED, 9), of(4 << 20, 9)),
            "4 MiB is too small for this burst, too: the reader is too slow, or stalls for too long",
        ),
    ],
)  # fmt: skip
def test_the_first_receive_buffer_that_carried_all_is_named(runs: tuple[Run, ...], advice: str) -> None:
    assert list(report.advice(BURST, runs, ALLOWED)) == [advice]


def test_a_slower_burst_shows_nothing_about_the_one_that_was_asked_for() -> None:
    slow, verdict = report.advice(BURST, (of(None, took=0.2), of(4 << 20, took=0.25)), ALLOWED)
    assert "in 2 of 2 runs (250 ms instead of 100 at worst)" in slow
    assert verdict.endswith("less than the burst, or slower. That shows nothing")


def test_a_smaller_buffer_that_was_not_seen_to_be_full_is_not_called_too_small() -> None:
    _, verdict = report.advice(BURST, (of(None, took=0.2), of(ALLOWED, took=0.2), of(4 << 20)), ALLOWED)
    assert verdict == f"4 MiB carried this burst {SEEN}"


def test_what_is_lost_before_the_socket_is_said_and_no_buffer_is_praised() -> None:
    before, verdict = report.advice(BURST, (of(None, udp=4), of(4 << 20, udp=4)), ALLOWED)
    assert before == "4 of 1,000 packets are lost before any socket, in IP and UDP"
    assert verdict.endswith("That shows nothing")


def test_what_the_kernel_refused_is_not_measured() -> None:
    assert [one.stage for one in report.not_measured(None, None)] == ["network_card", "firewall"]
    found = report.not_measured("no CPU", "no such algorithm")
    assert [one.stage for one in found] == ["network_card", "firewall", "softnet", "esp"]
    assert all(one.lost is None and one.why for one in found)
