from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcastd.errors import ConfigError
from mcastd.tools.importer.draft import Notes
from mcastd.tools.importer.keys import choose
from mcastd.tools.importer.secrets import Secrets, parse

FILE = Path("ipsec.secrets")


def read(text: str, notes: Notes | None = None, *, libreswan: bool = False) -> Secrets:
    return parse(text, notes or Notes(), FILE, libreswan=libreswan)


def key_of(text: str, local: str = "10.0.0.1", remote: str = "10.0.0.2", *, libreswan: bool = False) -> bytes | None:
    secrets = read(text, libreswan=libreswan)
    taken = choose(secrets.shared, local, remote, exact=secrets.foreign).taken
    return None if taken is None or taken.wrong else taken.key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('10.0.0.1 10.0.0.2 : PSK "two words"', b"two words"),
        ("10.0.0.1 10.0.0.2 : PSK 'single'", b"single"),
        ("10.0.0.1 10.0.0.2 : PSK 'it # is'", b"it # is"),
        ("10.0.0.1 10.0.0.2 : PSK plain # comment", b"plain"),
        ("10.0.0.1 10.0.0.2 : PSK plain#no-comment", b"plain#no-comment"),
        (': PSK "a # b"', b"a # b"),
        (': PSK "it\'s" more', b"it's"),
        (": PSK 'a \"b\"'", b'a "b"'),
        (r': PSK "a\"b"', b"a\\"),
        ("10.0.0.2 : PSK 0x6b6579", b"key"),
        ("10.0.0.2 : PSK 0X6B:65:79", b"key"),
        ("10.0.0.2 : PSK 0x6", b"\x06"),
        ("10.0.0.1 : PSK 0sa2V5", b"key"),
        ("10.0.0.1 : PSK 0SYWJj", b"abc"),
        ("10.0.0.1 : PSK 0s_-8=", b"\xff\xef"),
        (": PSK 0x", b"0x"),
        ('10.0.0.1 10.0.0.2 : PSK "0xnot"', b"0xnot"),
        ('%any 10.0.0.2 : PSK "any"', b"any"),
        ('# keys\n\n   \n  : PSK "generic"\n\t10.0.0.1 10.0.0.2 : PSK "specific"\r\n', b"specific"),
        ('10.0.0.1 10.0.0.2 : PSK \t "tab"', b"tab"),
        (": PSK sch\udcfcssel", b"sch\xfcssel"),
        (": PSK schlüssel", "schlüssel".encode()),
        ('include nothing\n: PSK "after"', b"after"),
    ],
)
def test_keys(text: str, key: bytes) -> None:
    assert key_of(text) == key


@pytest.mark.parametrize(
    "wrong",
    [
        '10.0.0.1 10.0.0.2: PSK "glued"',
        '10.0.0.1 10.0.0.2 :\tPSK "tab"',
        ':PSK "glued"',
        '10.0.0.1 : psk "small"',
        "10.0.0.1 : PSK",
        "10.0.0.1 : PSK # nothing",
        '10.0.0.1 : PSK "open',
        '10.0.0.1 : EAP "open',
        "10.0.0.1 : PSKS secret",
        '10.0.0.1 PSK "very secret"',
    ],
)
def test_what_is_no_entry_ends_the_file_as_for_charon_and_is_not_shown(wrong: str) -> None:
    notes = Notes()
    secrets = read(f': PSK "before"\n{wrong}\n10.0.0.1 10.0.0.2 : PSK "after"\n', notes)
    assert [secret.key for secret in secrets.shared] == [b"before"]
    (problem,) = notes.problems
    assert (problem.line, "the rest of the file" in problem.text) == (2, True)
    assert "secret" not in problem.text.replace("secret is missing", "").replace("type of secret", "")


def test_private_keys_are_files_and_other_kinds_are_noted() -> None:
    notes = Notes()
    secrets = read(': RSA vm.pem "passphrase"\ncarol : EAP "hidden"\n', notes)
    assert [value.text for value in secrets.key_files] == ["vm.pem"]
    assert [(problem.line, "hidden" in str(problem)) for problem in notes.problems] == [(2, False)]


@pytest.mark.parametrize("key", ["0xzz", "0s?", "0sabcde", '""', '"' + "k" * 1025 + '"'])
def test_a_key_that_cannot_be_used_says_why_and_is_not_shown(key: str) -> None:
    (secret,) = read(f": PSK {key}").shared
    assert secret.wrong
    assert key.strip('"') not in secret.wrong or key == '""'
    assert key.strip('"') not in repr(secret) or key == '""'


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('10.0.0.1 10.0.0.2: PSK "glued"', b"glued"),
        ('10.0.0.1 10.0.0.2\n\t: psk\n\t"folded"', b"folded"),
        ("10.0.0.1 10.0.0.2 : PSK 0x6b_65_79", b"key"),
        ('%any : PSK "any"\n10.0.0.1 10.0.0.2 : PSK "both"', b"both"),
        ('10.0.0.1 10.0.0.2 : PSK "one"\n10.0.0.1 10.0.0.2 : PSK "two"', None),
        ('%any : PSK "any"\n10.0.0.2 : PSK "theirs"', None),
        ('nonsense\n: PSK "after"', b"after"),
    ],
)
def test_libreswan(text: str, key: bytes | None) -> None:
    assert key_of(text, libreswan=True) == key


def test_included_files_are_read_and_end() -> None:
    secrets = parse(
        "\tinclude *.secrets # all\n", Notes(), FILE, lambda _pattern, _file: [(Path("a"), ': PSK "inside"')]
    )
    assert [(secret.key, str(secret)) for secret in secrets.shared] == [(b"inside", "a:1 (%any)")]
    with pytest.raises(ConfigError, match="include one another"):
        parse("include me\n", Notes(), FILE, lambda _pattern, _file: [(FILE, "include me\n")])


def test_no_secret_is_in_a_representation() -> None:
    assert "secret words" not in repr(read(': PSK "secret words"'))


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.sampled_from([":", " : ", " ", "\t", "\n", "PSK ", "RSA ", '"', "'", "0x", "0s", "include ", "#", "a"])
        | st.text(max_size=4)
    ),
    st.booleans(),
)
def test_no_text_does_more_than_refuse(pieces: list[str], libreswan: bool) -> None:
    text, notes = "".join(pieces), Notes()
    secrets = read(text, notes, libreswan=libreswan)
    choose(secrets.shared, "a", "b")
    lines = [problem.line for problem in notes.problems] + [secret.where.line for secret in secrets.shared]
    assert all(1 <= line <= text.count("\n") + 1 for line in lines)
