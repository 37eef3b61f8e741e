"""The corpus reaches the decoders; arbitrary bytes bring out DecodeError or nothing. ``./dev fuzz`` goes further."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import targets
from tests.fuzz.__main__ import outcome
from tests.fuzz.coverage import REQUIRED, replay
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"


def test_every_target_has_a_corpus() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)


def test_the_corpus_reaches_the_decoders() -> None:
    reached = replay([CORPUS])
    assert {name: percent for name, percent in reached.items() if percent < REQUIRED} == {}


@pytest.mark.parametrize("name", TARGETS)
def test_arbitrary_bytes(name: str) -> None:
    seeds = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    mutated = st.tuples(st.sampled_from(seeds), st.integers(0, 80), st.binary(max_size=12)).map(
        lambda part: part[0][: part[1]] + part[2] + part[0][part[1] + len(part[2]) :]
    )

    @given(st.binary(max_size=200) | mutated)
    @settings(max_examples=200, deadline=None)
    def run(data: bytes) -> None:
        TARGETS[name](data)

    run()


def test_a_failure_says_what_happened_and_keeps_what_came_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "failed" / "history"
    monkeypatch.setattr(targets, "HISTORY", kept)
    machine = targets.Machine()
    seeds = [path.read_bytes() for path in sorted((CORPUS / "pim_machine").iterdir())]
    for data in seeds:
        machine(data)
    monkeypatch.setattr(targets, "MAX_NEIGHBORS", -100)
    with pytest.raises(AssertionError):
        machine(seeds[0])
    assert targets.read_history(kept) == [*seeds, seeds[0]]


@pytest.mark.parametrize(
    ("code", "said"),
    [(77, "exception"), (70, "TOO SLOW"), (71, "TOO BIG"), (-9, "KILLED by SIGKILL"), (5, "exit code 5")],
)
def test_every_end_has_a_name(code: int, said: str) -> None:
    assert said in outcome(code)
