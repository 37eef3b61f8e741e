from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcastd.errors import ConfigError
from mcastd.tools.importer.draft import Notes
from mcastd.tools.importer.secrets import Secrets, parse

FILE = Path("ipsec.secrets")


def read(text: str, notes: Notes | None = None) -> Secrets:
    return parse(text, notes or Notes(), FILE)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('10.0.0.1 10.0.0.2 : PSK "two words"', b"two words"),
        ("10.0.0.1 10.0.0.2 : PSK 'single'", b"single"),
        ("10.0.0.1 10.0.0.2 : psk plain # comment", b"plain"),
        (': PSK "a # b"', b"a # b"),
        ("10.0.0.2 : PSK 0x6b6579", b"key"),
        ("10.0.0.1 : PSK 0sa2V5", b"key"),
        ('@10.0.0.1 %any : PSK "any"', b"any"),
        ('10.0.0.1 10.0.0.2\n\t: PSK\n\t"folded"', b"folded"),
        ('# comment\n\n   \n10.0.0.1 10.0.0.2 : PSK "0xnot"', b"0xnot"),
    ],
)
def test_keys(text: str, key: bytes) -> None:
    assert read(text).key_for(["10.0.0.1"], ["10.0.0.2"]) == key


def test_the_entry_that_names_most_of_the_two_is_taken() -> None:
    secrets = read(
        ': PSK "all"\n10.0.0.2 : PSK "theirs"\n%any 10.0.0.2 : PSK "any"\n10.0.0.1 10.0.0.2 : PSK "both"\n'
        '10.0.0.1 10.9.9.9 : PSK "others"\n10.8.8.8 : PSK "nobody"\n'
    )
    assert secrets.key_for(["10.0.0.1"], ["10.0.0.2"]) == b"both"
    assert secrets.key_for(["10.0.0.7"], ["10.0.0.2"]) == b"any"
    assert secrets.key_for(["10.0.0.7"], ["10.0.0.8"]) == b"all"
    assert read('10.8.8.8 : PSK "nobody"').key_for(["10.0.0.1"], ["10.0.0.2"]) is None


def test_private_keys_are_files_and_other_kinds_are_noted() -> None:
    notes = Notes()
    secrets = read(': RSA vm.pem "passphrase"\ncarol : EAP "hidden"\n', notes)
    assert [value.text for value in secrets.key_files] == ["vm.pem"]
    assert [(problem.line, "hidden" in str(problem)) for problem in notes.problems] == [(2, False)]


@pytest.mark.parametrize("key", ["0xzz", "0s?", "0x", '""', "0x0a", '"' + "k" * 1025 + '"'])
def test_a_key_that_cannot_be_used_is_left_out_and_not_shown(key: str) -> None:
    notes = Notes()
    assert read(f": PSK {key}", notes).shared == ()
    assert [problem.line for problem in notes.problems] == [1]
    assert key.strip('"') in ("", "0x") or key.strip('"') not in str(notes.problems)


def test_what_is_no_entry_is_refused_without_being_shown() -> None:
    with pytest.raises(ConfigError, match=r"ipsec\.secrets:2: not an entry") as caught:
        read(': PSK "one"\n10.0.0.1 PSK "very secret"\n')
    assert "very secret" not in str(caught.value)


def test_included_files_are_read_and_end() -> None:
    secrets = parse("include *.secrets\n", Notes(), FILE, lambda _pattern, _file: [(Path("a"), ': PSK "inside"\n')])
    assert secrets.key_for([], []) == b"inside"
    with pytest.raises(ConfigError, match="include one another"):
        parse("include me\n", Notes(), FILE, lambda _pattern, _file: [(FILE, "include me\n")])


def test_no_secret_is_in_a_representation() -> None:
    assert "secret words" not in repr(read(': PSK "secret words"'))


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.sampled_from([":", " ", "\t", "\n", "PSK", "RSA", '"', "'", "0x", "0s", "include", "#", "a"])
        | st.text(max_size=4)
    )
)
def test_no_text_does_more_than_refuse(pieces: list[str]) -> None:
    text = "".join(pieces)
    lines = [1]
    try:
        read(text).key_for(["a"], ["b"])
    except ConfigError as error:
        lines = [problem.line for problem in error.problems]
    assert all(1 <= line <= max(1, len(text.splitlines())) for line in lines)
