"""The probes of CHILD_SAs: each line of the table, and what holds for any sequence of inputs."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mcastd.ipsec.probe import ANSWER_WITHIN, LONGEST_PAUSE, PAUSE, Effect, Probes, Reestablish, Rekey, Target

GRE = "dc-tun-gre"
TARGET = Target(peer="dc", ike=1, number=10, spi="c0000001", waits=False)
WAITING = replace(TARGET, waits=True)
RENEWED = replace(TARGET, number=11, spi="c0000002")
SILENT = {GRE: (1, "all streams of gre1 are silent")}
AGAIN = {GRE: (2, "all streams of gre1 are silent")}
REASON = SILENT[GRE][1]


def asked() -> Probes:
    """A probe that was sent at 0."""
    probes = Probes()
    assert probes.update(SILENT, {GRE: TARGET}, 0.0) == [Rekey(GRE, TARGET, REASON)]
    assert probes.next_deadline() == ANSWER_WITHIN
    return probes


def answered() -> Probes:
    """One that was answered at 1."""
    probes = asked()
    assert probes.update(SILENT, {GRE: RENEWED}, 1.0) == []
    assert probes.next_deadline() == 1.0 + PAUSE
    return probes


def test_without_silence_nothing_is_probed() -> None:
    probes = Probes()
    assert probes.update({}, {GRE: TARGET}, 0.0) == []
    assert probes.update(SILENT, {}, 0.0) == []
    assert probes.next_deadline() is None


def test_it_is_asked_once() -> None:
    probes = asked()
    assert probes.update(SILENT, {GRE: WAITING}, 1.0) == []
    assert probes.update(SILENT, {GRE: WAITING}, ANSWER_WITHIN - 0.01) == []


def test_an_answer_is_another_spi_and_it_is_not_asked_again_for_a_while() -> None:
    probes = answered()
    assert probes.update(SILENT, {GRE: RENEWED}, PAUSE) == []
    assert probes.update(SILENT, {GRE: RENEWED}, 1.0 + PAUSE) == [Rekey(GRE, RENEWED, REASON, again=True)]


def test_a_refusal_is_an_answer() -> None:
    probes = asked()
    assert probes.update(SILENT, {GRE: TARGET}, ANSWER_WITHIN) == []
    assert probes.next_deadline() == ANSWER_WITHIN + PAUSE


def test_without_an_answer_it_is_established_again_and_what_is_new_may_be_probed() -> None:
    probes = asked()
    effect = Reestablish(GRE, WAITING, f"{REASON}, and the peer does not answer")
    assert probes.update(SILENT, {GRE: WAITING}, ANSWER_WITHIN) == [effect]
    assert probes.next_deadline() is None
    assert probes.update(SILENT, {GRE: RENEWED}, 8.0) == [Rekey(GRE, RENEWED, REASON)]


def test_packets_that_come_meanwhile_are_an_answer_too() -> None:
    probes = asked()
    assert probes.update({}, {GRE: WAITING}, 1.0) == []
    assert probes.next_deadline() is None
    assert probes.update({}, {GRE: WAITING}, ANSWER_WITHIN) == []


def test_single_packets_in_a_silence_that_goes_on_do_not_repeat_the_probe() -> None:
    probes = answered()
    for now in range(2, int(PAUSE)):
        assert probes.update(SILENT if now % 10 > 3 else {}, {GRE: RENEWED}, float(now)) == []


def test_streams_that_came_back_and_fall_silent_once_more_are_probed_at_once() -> None:
    probes = answered()
    assert probes.update({}, {GRE: RENEWED}, 2.0) == []
    assert probes.update(AGAIN, {GRE: RENEWED}, 6.0) == [Rekey(GRE, RENEWED, REASON)]


def rekeyed(probes: Probes, until: float, heard: float = 0.0) -> list[float]:
    """When a peer that agrees each time is asked; of ten seconds the path is heard in the last ``heard``."""
    times, spi, now = [], 0, 0.0
    while now < until:
        silent = SILENT if now % 10 < 10 - heard else {}
        if probes.update(silent, {GRE: replace(TARGET, spi=f"{spi:08x}")}, now):
            times.append(now)
            spi += 1
        now += 0.5
    return times


def test_in_a_silence_that_lasts_the_pause_doubles_up_to_an_hour() -> None:
    times = rekeyed(Probes(), 15_000.0)
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert [round(pause) for pause in pauses] == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert LONGEST_PAUSE == 3600.0


def test_keepalives_that_come_in_it_do_not_shorten_the_pause() -> None:
    assert len(rekeyed(Probes(), 15_000.0, heard=3.0)) == len(rekeyed(Probes(), 15_000.0))


def test_an_answer_together_with_a_packet_is_for_the_silence_before_it() -> None:
    probes = asked()
    assert probes.update({}, {GRE: RENEWED}, 1.0) == []
    assert probes.update(SILENT, {GRE: RENEWED}, 2.0) == []


def test_a_path_that_is_heard_for_a_minute_is_probed_at_once_when_it_is_silent_again() -> None:
    probes = answered()
    assert probes.update({}, {GRE: RENEWED}, 2.0) == []
    assert probes.next_deadline() == 2.0 + PAUSE
    assert probes.update({}, {GRE: RENEWED}, 2.0 + PAUSE) == []
    assert probes.next_deadline() is None
    assert probes.update(SILENT, {GRE: RENEWED}, 70.0) == [Rekey(GRE, RENEWED, REASON)]


def test_what_is_down_is_forgotten() -> None:
    probes = asked()
    assert probes.update(SILENT, {}, 1.0) == []
    assert probes.update(SILENT, {GRE: RENEWED}, 2.0) == [Rekey(GRE, RENEWED, REASON)]


INPUT = st.tuples(
    st.sampled_from([{}, SILENT, AGAIN]),
    st.sampled_from([{}, {GRE: TARGET}, {GRE: WAITING}, {GRE: RENEWED}]),
    st.sampled_from([0.0, 0.1, 1.0, ANSWER_WITHIN, 30.0, PAUSE]),
)


@given(st.lists(INPUT, max_size=40))
def test_whatever_comes_only_what_is_silent_is_asked_and_only_what_was_asked_is_ended(
    inputs: list[tuple[dict[str, tuple[int, str]], dict[str, Target], float]],
) -> None:
    probes, now = Probes(), 0.0
    sent: tuple[float, Target] | None = None
    for silent, targets, passed in inputs:
        now += passed
        effects: list[Effect] = probes.update(silent, targets, now)
        assert len(effects) <= 1
        for effect in effects:
            assert (effect.child in silent, targets[effect.child]) == (True, effect.target)
            if isinstance(effect, Rekey):
                assert sent is None or now - sent[0] >= 0.0
                sent = (now, effect.target)
            else:
                assert sent is not None
                assert now >= sent[0] + ANSWER_WITHIN
                assert (effect.target.spi, effect.target.waits) == (sent[1].spi, True)
                sent = None
        deadline = probes.next_deadline()
        assert deadline is None or deadline > now


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.1, 1.0, 3.0, 7.0])), max_size=200))
def test_a_silence_that_the_peer_answers_costs_one_rekeying_a_minute(inputs: list[tuple[bool, float]]) -> None:
    """However single packets come in between: each rekeying is answered before the next input."""
    probes, now, spi = Probes(), 0.0, 0
    times = []
    for silent, passed in inputs:
        now += passed
        target = replace(TARGET, spi=f"{spi:08x}")
        if probes.update(SILENT if silent else {}, {GRE: target}, now):
            times.append(now)
            spi += 1
            assert probes.update(SILENT, {GRE: replace(TARGET, spi=f"{spi:08x}")}, now) == []
    assert all(later - earlier >= PAUSE for earlier, later in pairwise(times))
