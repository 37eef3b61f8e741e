"""Ranges, prefixes and arrays in ``group``: each group as if it were written by itself, each error at its line."""

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mcastd.config import group_ranges
from mcastd.config.group_ranges import LARGEST, parse, spelled
from mcastd.config.load import Loaded, loads
from mcastd.config.model import Config, Group
from mcastd.config.value_types import WrongValueError
from mcastd.errors import ConfigError

TEXT = (Path(__file__).parents[2] / "etc" / "mcastd.toml").read_text()
BEFORE = TEXT.partition("\n[[groups]]")[0] + "\n"
LINE = BEFORE.count("\n") + 1

FIRST, LAST = int(IPv4Address("224.0.1.0")), int(IPv4Address("239.255.255.255"))
NUMBERS = st.integers(FIRST, LAST)


def loaded(*tables: str) -> Loaded:
    return loads(BEFORE + "".join(f"[[groups]]\n{table}\n" for table in tables), Path("x.toml"), check_files=False)


def groups(*tables: str) -> list[str]:
    return [str(group.group) for group in loaded(*tables).config.groups]


def complaints(*tables: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(*tables)
    return str(caught.value).splitlines()


def test_a_range_and_a_prefix_are_all_their_groups() -> None:
    assert groups('group = "239.1.1.1-239.1.1.3"') == ["239.1.1.1", "239.1.1.2", "239.1.1.3"]
    assert groups('group = "239.1.1.4/31"') == ["239.1.1.4", "239.1.1.5"]
    assert groups('group = ["239.1.1.255-239.1.2.1", "239.9.9.9", "239.8.0.0/32"]') == [
        "239.1.1.255", "239.1.2.0", "239.1.2.1", "239.9.9.9", "239.8.0.0",
    ]  # fmt: skip


def test_each_group_has_the_other_keys_of_its_table() -> None:
    found = loaded('group = "232.1.1.0/31"\nsources = ["10.0.0.1", "10.0.0.2"]\nmax_silence = "5s"').config.groups
    sources = (IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2"))
    one = Group(group=IPv4Address("232.1.1.0"), tunnel="gre1", sources=sources, max_silence=5.0)
    assert found == (one, replace(one, group=IPv4Address("232.1.1.1")))


def test_host_bits_are_cut_off_with_a_note() -> None:
    found = loaded('group = ["239.2.1.1", "239.1.1.5/30"]')
    assert [str(note) for note in found.notes if note.line >= LINE] == [
        f"x.toml:{LINE + 1}: groups[0].group[1]: 239.1.1.5/30 means 239.1.1.4/30, its host bits are cut off"
    ]


@pytest.mark.parametrize(
    ("value", "key", "said"),
    [
        ('"239.1.1.9-239.1.1.8"', "", '"239.1.1.9-239.1.1.8" ends before it begins'),
        ('"239.1.1.1-239.1.1.x"', "", '"239.1.1.x" is not an IPv4 address'),
        ('"239.1.1.1-"', "", '"" is not an IPv4 address'),
        ('"239.1.1.0/33"', "", '"239.1.1.0/33" is no IPv4 prefix'),
        ('"223.0.0.0-239.0.0.0"', "", "223.0.0.0 is not a multicast group"),
        ('"224.0.0.0/23"', "", "224.0.0.0 is in 224.0.0.0/24, which never leaves its link"),
        ('"239.0.0.0/8"', "", f'"239.0.0.0/8" is 16777216 groups, more than {LARGEST}'),
        ("[]", "", "it is empty"),
        ("3", "", "it is an integer"),
        ('["239.1.1.1", ["239.1.1.2"]]', "[1]", "it is an array"),
        ('["239.1.1.1", 3]', "[1]", "it is an integer"),
        ('["239.1.1.1", "239.1.1.2-"]', "[1]", '"" is not an IPv4 address'),
    ],
)
def test_what_is_no_range(value: str, key: str, said: str) -> None:
    (found,) = complaints(f"group = {value}")
    assert found.startswith(f"x.toml:{LINE + 1}: groups[0].group{key}: {said}; allowed: a multicast group from 224.0.1")
    assert found.endswith('"239.1.1.1-239.1.1.20" or "239.1.1.0/28"')


def test_an_overlap_is_found_once_with_both_lines() -> None:
    several = 'group = [\n  "239.2.0.0/24",\n  "239.1.1.3-239.1.1.9",\n]'
    assert complaints('group = "239.1.1.0/28"', several) == [
        f"x.toml:{LINE + 5}: groups[1].group[1]: 239.1.1.3 from every source is joined at line {LINE + 1} already; "
        "allowed: once on a tunnel"
    ]


def test_what_is_wrong_for_a_whole_range_is_reported_once() -> None:
    (found,) = complaints('group = "225.1.0.0/20"')
    assert found.startswith(f"x.toml:{LINE + 1}: groups[0].group: no RP serves 225.1.0.0")
    (found,) = complaints('group = "232.1.0.0/20"\nsources = ["10.0.0.x"]', 'group = "239.1.1.1"')
    assert found.startswith(f'x.toml:{LINE + 2}: groups[0].sources[0]: "10.0.0.x" is not an IPv4 address')


def test_what_follows_a_range_has_its_own_place() -> None:
    (found,) = complaints('group = "239.1.0.0/24"', 'group = "239.1.0.0/33"')
    assert found.startswith(f"x.toml:{LINE + 3}: groups[1].group: ")
    (found,) = complaints('group = "239.1.0.0/24"', 'group = "239.2.0.0"\ntunel = "gre1"')
    assert found.startswith(f"x.toml:{LINE + 4}: groups[1].tunel: there is no such key; did you mean tunnel?")


def test_not_more_than_a_host_can_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_ranges, "MOST", 20)
    assert len(groups('group = "239.1.1.0/28"', 'group = "239.2.1.0/30"')) == 20
    (found,) = complaints('group = "239.1.1.0/28"', 'group = ["239.2.1.0/31", "239.3.1.0/29"]')
    assert 'groups[1].group[1]: with "239.3.1.0/29" there are more than 20 groups in all' in found


@given(first=NUMBERS, last=NUMBERS)
def test_a_range_is_what_is_between_its_ends(first: int, last: int) -> None:
    text = f"{IPv4Address(first)}-{IPv4Address(last)}"
    try:
        found = parse(text)
    except WrongValueError:
        assert last < first or last - first >= LARGEST
    else:
        assert list(found) == list(range(first, last + 1))


@given(first=NUMBERS, length=st.integers(12, 32))
def test_a_prefix_is_its_addresses(first: int, length: int) -> None:
    network = IPv4Network((first, length), strict=False)
    try:
        found = parse(f"{IPv4Address(first)}/{length}")
    except WrongValueError:
        assert network.num_addresses > LARGEST or int(network[0]) < FIRST
    else:
        assert [IPv4Address(number) for number in found] == list(network)


@given(numbers=st.lists(st.integers(FIRST, FIRST + 50)))
def test_groups_in_words_are_read_as_the_same_groups(numbers: list[int]) -> None:
    words = list(spelled(map(IPv4Address, numbers)))
    assert [number for word in words for number in parse(word)] == sorted(set(numbers))


@given(text=st.text(alphabet="0123456789.-/ ", max_size=40) | st.text(max_size=20))
def test_every_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse(text)
    except WrongValueError:
        pass
    else:
        assert FIRST <= found[0] <= found[-1] <= LAST


@settings(max_examples=20, deadline=None)
@given(single=st.lists(NUMBERS, unique=True, max_size=5), start=NUMBERS, count=st.integers(1, 20))
def test_a_file_with_a_range_says_what_one_says_with_each_group(single: list[int], start: int, count: int) -> None:
    numbers = range(start, min(start + count, LAST + 1))
    one_by_one = [f'group = "{IPv4Address(number)}"' for number in (*single, *numbers)]
    ranges = [f'group = "{IPv4Address(number)}"' for number in single]
    ranges.append(f'group = "{IPv4Address(numbers[0])}-{IPv4Address(numbers[-1])}"')
    assert _outcome(one_by_one) == _outcome(ranges)


def _outcome(tables: list[str]) -> Config | None:
    try:
        return loaded(*tables).config
    except ConfigError:
        return None
