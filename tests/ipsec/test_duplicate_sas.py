from msgspec.structs import replace

from mcastd.ipsec.duplicate_sas import GRACE, DuplicateSas
from mcastd.ipsec.sas import IkeSa, ike_sas


def child(name: str, number: int, state: str = "INSTALLED") -> dict[str, bytes]:
    return {"name": name.encode(), "uniqueid": str(number).encode(), "state": state.encode()}


def ike(number: int, *children: dict[str, bytes], state: str = "ESTABLISHED", name: str = "dc") -> IkeSa:
    listed = {f"{index}": dict(fields) for index, fields in enumerate(children)}
    (sa,) = ike_sas({name: {"uniqueid": str(number).encode(), "state": state.encode(), "child-sas": listed}})  # type: ignore[dict-item]  # narrower than what it takes
    return sa


def due(*sas: IkeSa) -> list[str]:
    """What is pruned when this persists."""
    duplicates = DuplicateSas()
    assert duplicates.update(sas, {"dc"}, 100.0) == []
    return sorted(sa for sa, _ in duplicates.update(sas, {"dc"}, 100.0 + GRACE))


def test_one_of_each_is_left_alone() -> None:
    assert due(ike(1, child("a", 1), child("b", 2))) == []


def test_the_older_child_goes() -> None:
    assert due(ike(1, child("a", 1), child("a", 2), child("b", 3))) == ["child 1"]


def test_the_older_ike_sa_goes_when_the_newer_carries_all_that_it_does() -> None:
    assert due(ike(1, child("a", 1)), ike(2, child("a", 2), child("b", 3))) == ["ike 1"]


def test_an_ike_sa_that_alone_carries_a_child_stays() -> None:
    assert due(ike(1, child("a", 1), child("b", 2)), ike(2, child("a", 3))) == ["child 1"]


def test_rekeying_is_not_a_duplicate() -> None:
    assert due(ike(1, child("a", 1, "REKEYED"), child("a", 2))) == []
    assert due(ike(1, child("a", 1), state="REKEYED"), ike(2, child("a", 1))) == []
    assert due(ike(1, child("a", 1, "DELETING"), child("a", 2))) == []


def test_other_connections_are_not_looked_at() -> None:
    other = replace(ike(1, child("a", 1), child("a", 2)), name="other")
    assert due(other) == []


def test_what_ends_in_time_is_forgotten_and_there_is_a_deadline() -> None:
    duplicates = DuplicateSas()
    double, single = ike(1, child("a", 1), child("a", 2)), ike(1, child("a", 2))
    duplicates.update((double,), {"dc"}, 100.0)
    deadlines = [duplicates.next_deadline]
    duplicates.update((single,), {"dc"}, 101.0)
    deadlines.append(duplicates.next_deadline)
    assert deadlines == [100.0 + GRACE, None]
    assert duplicates.update((double,), {"dc"}, 103.0) == []


def test_the_command_names_the_sa_by_number() -> None:
    duplicates = DuplicateSas()
    double = ike(1, child("a", 1), child("a", 2))
    duplicates.update((double,), {"dc"}, 0.0)
    ((_, message),) = duplicates.update((double,), {"dc"}, GRACE)
    assert message["child-id"] == "1"
