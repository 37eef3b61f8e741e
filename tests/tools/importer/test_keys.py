"""The choice among several keys; tests/ipsec/test_key_choice.py asks a real charon."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.tools.importer.keys import Choice, Secret, choose

OURS, THEIRS = "10.0.0.1", "10.0.0.2"


def secrets(*ids: str) -> tuple[Secret, ...]:
    return tuple(Secret(tuple(one.split()), f"key {at}".encode()) for at, one in enumerate(ids))


def taken(choice: Choice) -> int | None:
    return None if choice.taken is None else int(choice.taken.key[4:])


@pytest.mark.parametrize(
    ("ids", "index", "why"),
    [
        (("%any %any", THEIRS), 1, "the other side, best"),
        ((f"{OURS} {THEIRS}", THEIRS), 0, "our side, best"),
        ((f"{OURS} {THEIRS}", f"{THEIRS} {OURS}"), 1, "the last"),
        (("10.0.0.0/24", "10.0.0.0/8", "%any"), 1, "the last"),
        ((OURS, "%any"), 1, "the other side, best"),
        (("203.0.113.9", "203.0.113.10"), None, "none of them fits"),
        (("203.0.113.9", OURS), 1, "the only one"),
    ],
)
def test_which_one_and_why(ids: tuple[str, ...], index: int | None, why: str) -> None:
    choice = choose(secrets(*ids), OURS, THEIRS)
    assert (taken(choice), why in choice.why) == (index, True)


@pytest.mark.parametrize(
    ("local", "remote", "ids", "index"),
    [
        (None, THEIRS, ("%any", THEIRS), 1),
        (None, THEIRS, (f"{OURS} {THEIRS}", THEIRS), None),
        (None, THEIRS, (OURS, "10.9.9.9"), None),
        (OURS, None, ("%any", THEIRS), None),
        (OURS, None, (THEIRS,), None),
        (OURS, None, (f"{OURS} {THEIRS}",), 0),
        (None, THEIRS, ("10.9.9.9 10.8.8.8",), None),
        (None, THEIRS, (f"10.9.9.9 {THEIRS}", "10.9.9.9 10.8.8.8"), 0),
        (None, None, ("%any",), 0),
        (None, None, (OURS, THEIRS), None),
    ],
)
def test_an_end_that_is_not_known(
    local: str | None, remote: str | None, ids: tuple[str, ...], index: int | None
) -> None:
    assert taken(choose(secrets(*ids), local, remote)) == index


def test_the_same_key_twice_is_no_choice() -> None:
    choice = choose((Secret(("%any",), b"key"), Secret((THEIRS,), b"key")), None, THEIRS)
    assert choice.taken is not None
    assert not choice.noteworthy


def test_addresses_are_asked_for_with_ikev1_alone_and_where_no_identity_fits() -> None:
    entries = secrets(f"{OURS} {THEIRS}")
    assert taken(choose(entries, "vm", "dc", addresses=(OURS, THEIRS))) == 0
    assert taken(choose(entries, "vm", "dc")) is None
    assert taken(choose(secrets(f"{OURS} {THEIRS}", "dc"), "vm", "dc", addresses=(OURS, THEIRS))) == 1


IDS = st.lists(st.sampled_from([OURS, THEIRS, "%any", "10.0.0.0/8", "10.0.0.1-10.0.0.9", "vm", "a=b", "*"]) | st.text())


@given(st.lists(IDS), st.text() | st.none(), st.sampled_from([THEIRS, "vm.example.com", "C=CH, CN=*"]) | st.none())
def test_any_identities_can_be_compared(entries: list[list[str]], local: str | None, remote: str | None) -> None:
    found = choose([Secret(tuple(ids), bytes([at])) for at, ids in enumerate(entries)], local, remote)
    assert found.taken is None or found.taken in found.candidates
