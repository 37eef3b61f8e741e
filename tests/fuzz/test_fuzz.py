"""The corpus reaches the decoders; arbitrary bytes bring out DecodeError or nothing. ``./dev fuzz`` goes further."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
