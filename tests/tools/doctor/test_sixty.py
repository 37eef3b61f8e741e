"""The faults of ``sixty``: the cause is named, alone and with all that follows from it, and the right side is asked."""

import pytest

from mcastd.tools.doctor.facts import Facts
from mcastd.tools.doctor.finding import Finding, Side
from mcastd.tools.doctor.walk import EXPLAINS, HOPS, walk
from tests.tools.doctor.observed import facts
from tests.tools.doctor.sixty import SIXTY, Fault, suffering


@pytest.mark.parametrize("fault", SIXTY, ids=lambda fault: fault.what)
def test_the_cause_is_named_and_the_right_side_is_asked(fault: Fault) -> None:
    for observed in (fault.facts, suffering(fault.facts)) if fault.stops else (fault.facts,):
        found = walk(observed).findings
        if not found and fault.stops and observed is fault.facts:
            continue  # it shows by what follows alone
        assert [(one.problem, one.side) for one in found[:1]] == ([(fault.code, fault.side)] if fault.code else [])
        if fault.side is Side.HERE:
            assert {one.side for one in found} == {Side.HERE}


def overlay(base: object, healthy: object, other: object) -> object:
    """``base`` with what ``other`` has otherwise than ``healthy``, field by field."""
    if other == healthy:
        return base
    names: tuple[str, ...] = ()
    if type(base) is type(other) is type(healthy):
        names = tuple(getattr(base, "__struct_fields__", ())) or tuple(getattr(base, "__dataclass_fields__", ()))
    if names:
        merged = {name: overlay(*(getattr(one, name) for one in (base, healthy, other))) for name in names}
        return type(base)(**merged)
    if isinstance(base, tuple) and isinstance(other, tuple) and isinstance(healthy, tuple):
        if len(base) == len(other) == len(healthy) and not hasattr(base, "_fields"):
            return tuple(map(overlay, base, healthy, other))
        if not healthy:  # problems, rules
            return (*base, *other)
    if isinstance(base, dict) and isinstance(other, dict) and isinstance(healthy, dict):
        both = base.keys() & other.keys() & healthy.keys()
        return base | other | {name: overlay(base[name], healthy[name], other[name]) for name in both}
    return other


def raised(observed: Facts) -> set[str]:
    """What all hops find by themselves."""
    every = (one for hop in HOPS.values() for one in hop(observed))
    return {one.problem for one in every if isinstance(one, Finding)}


FIRST = {fault.what: found[0] for fault in SIXTY if (found := walk(fault.facts).findings)}
PATH = ("", "dc-tun", "dc-tun-gre", "gre1")
LOCAL = [
    fault
    for fault in SIXTY
    if fault.side is Side.HERE and (one := FIRST.get(fault.what)) and not one.groups and one.subject in PATH
]
CLAIMS = [fault for fault in SIXTY if fault.side in (Side.THERE, Side.EITHER) and fault.what in FIRST]


@pytest.mark.parametrize("local", LOCAL, ids=lambda fault: fault.what)
def test_nothing_is_asked_of_the_other_side_before_a_cause_here_that_the_path_reaches_first(local: Fault) -> None:
    """Both faults at once: what is broken here, at an earlier hop, comes first on its path."""
    order, cause = tuple(HOPS), FIRST[local.what]
    for claim in CLAIMS:
        if order.index(cause.hop) < order.index(FIRST[claim.what].hop) or cause.problem in EXPLAINS:
            both = overlay(claim.facts, facts(), local.facts)
            assert isinstance(both, Facts)
            first = walk(both).findings[:1]
            if [one.side for one in first] != [Side.HERE]:
                # The other fault's facts may prove that it is none: packets pass.
                assert cause.problem not in raised(both), (claim.what, first)
