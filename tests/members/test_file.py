"""The format of members files: whole or refused, with the line and what is allowed."""

import json
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcastd.config.downstream import MAX_JOINS
from mcastd.members.file import LONGEST, Groups, MembersFileError, parse
from mcastd.membership import ANY_SOURCE, DesiredGroup
from tests.calls import calls

GROUP, OTHER, SOURCE = IPv4Address("239.1.7.1"), IPv4Address("239.1.7.2"), IPv4Address("100.15.30.10")
GROUPS = st.integers(0xE0000100, 0xEFFFFFFF).map(IPv4Address)
SENDERS = st.integers(0x01000000, 0x7EFFFFFF).map(IPv4Address)


def read(text: str | bytes) -> Groups:
    found: Groups = {}
    for _ in parse(text if isinstance(text, bytes) else text.encode(), found):
        pass
    return found


def test_groups_with_and_without_sources() -> None:
    text = '{"schema": 1, "groups": [{"group": "239.1.7.1"}, {"group": "239.1.7.2", "sources": ["100.15.30.10"]}]}'
    assert read(text) == {GROUP: ANY_SOURCE, OTHER: DesiredGroup(sources=frozenset({SOURCE}))}
    assert read('{"schema": 1, "groups": []}') == {}


def groups(*entries: str) -> str:
    """A file with a group in each line from the third."""
    return '{"schema": 1,\n "groups": [\n' + ",\n".join(entries) + "\n]}"


GOOD = '{"group": "239.1.9.1"}'


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "1: no JSON"),
        ('{"schema": 1,\n"groups": [\n', "3: no JSON"),
        ('{"schema": 1,\n"groups": [x]}', "2: no JSON"),
        (b'{"schema": 1, "groups": [{"group": "\xff"}]}', "1: "),
        ("[]", "1: Expected `object`"),
        ('{"groups": []}', "1: Object missing required field `schema`"),
        ('{"schema": 2, "groups": []}', "1: schema 2 is not known; allowed: 1"),
        ('{"schema": 1, "groups": [], "more": 1}', "1: Object contains unknown field `more`"),
        (groups(GOOD, "1"), "4: Expected `object`"),
        (groups(GOOD, GOOD.replace("9.1", "9.2"), '{"group": 5}'), "5: Expected `str`"),
        (groups(GOOD, '{"group": "239.1.7"}'), "4: '239.1.7' is no group that can be forwarded; allowed: 224.0.1.0 to"),
        (groups('{"group": "10.1.1.1"}'), "3: '10.1.1.1' is no group"),
        (groups('{"group": "224.0.0.5"}'), "3: '224.0.0.5' is no group"),
        (groups(GOOD, GOOD), "4: 239.1.9.1 is there already; allowed: each group once"),
        (groups('{"group": "239.1.7.1", "sources": []}'), "3: 239.1.7.1 has no sources; allowed: at least one"),
        (groups('{"group": "239.1.7.1", "sources": ["239.1.1.1"]}'), "3: '239.1.1.1' cannot be a source"),
        (groups('{"group": "239.1.7.1", "source": "100.15.30.10"}'), "3: Object contains unknown field `source`"),
        (b" " * (LONGEST + 1), "1: the file is longer than 2 MiB; allowed: at most that"),
        (b'{"schema": 1, "groups": [' + b"[" * 100_000, "1: arrays or objects are nested too deeply"),
        (groups(GOOD, '{"group": "239.1.7.1", "sources": ' + "[" * 100_000), "1: arrays or objects are nested"),
        (groups('{"group": "239.1.7.1", "sources": [' + '"100.15.30.10",' * 70_000 + "]}"), "1: there are too many"),
        (groups(*[GOOD] * (MAX_JOINS + 1)), f"1: there are {MAX_JOINS + 1} groups; allowed: at most {MAX_JOINS}"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_what_is_allowed(text: str | bytes, error: str) -> None:
    with pytest.raises(MembersFileError) as raised:
        read(text)
    assert str(raised.value).startswith(error)
    assert "; allowed: " in str(raised.value)


def steps(text: str) -> list[int]:
    """The calls of each step."""
    found, parts = [], parse(text.encode(), {})
    end = object()
    step: object = None
    while step is not end:

        def act() -> None:
            nonlocal step
            step = next(parts, end)

        found.append(calls(act))
    return found


def test_a_step_is_small_whatever_a_group_has() -> None:
    """Too many sources are counted before they are made into addresses."""
    sources = [f"100.{15 + number // 65536}.{number // 256 % 256}.{number % 256}" for number in range(MAX_JOINS + 1)]
    most = steps(json.dumps({"schema": 1, "groups": [{"group": str(GROUP), "sources": sources[1:]}]}))
    few = steps(json.dumps({"schema": 1, "groups": [{"group": str(GROUP), "sources": sources[:250]}]}))
    assert len(most) == MAX_JOINS // 100 + 1
    assert max(most) <= max(few) + 10
    with pytest.raises(MembersFileError, match=r"^1: with this group there are too many groups and sources"):
        next(parse(json.dumps({"schema": 1, "groups": [{"group": str(GROUP), "sources": sources}]}).encode(), {}))


@given(st.dictionaries(GROUPS, st.frozensets(SENDERS, max_size=4), max_size=20), st.sampled_from([None, 1]))
def test_what_was_written_is_read(wanted: dict[IPv4Address, frozenset[IPv4Address]], indent: int | None) -> None:
    entries = [
        {"group": str(group), **({"sources": sorted(map(str, sources))} if sources else {})}
        for group, sources in wanted.items()
    ]
    text = json.dumps({"schema": 1, "groups": entries}, indent=indent)
    assert read(text) == {
        group: DesiredGroup(sources=sources) if sources else ANY_SOURCE for group, sources in wanted.items()
    }


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode), st.integers(0, 120), st.integers(0, 20))
def test_any_damage_is_refused_or_read_and_nothing_else(junk: bytes, place: int, cut: int) -> None:
    text = groups(GOOD, '{"group": "239.1.7.2", "sources": ["100.15.30.10"]}').encode()
    for damaged in (junk, text[:place] + junk + text[place + cut :]):
        try:
            found = read(damaged)
        except MembersFileError:
            continue
        assert all(group.is_multicast for group in found)
