"""What is said of a text that is no TOML: the key, what was probably meant, and what is allowed."""

from pathlib import Path

import pytest

from mcastd.config.toml_errors import parse
from mcastd.errors import ConfigError, ConfigProblem


def problem(text: str) -> ConfigProblem:
    with pytest.raises(ConfigError) as caught:
        parse(Path("m.toml"), text)
    (found,) = caught.value.problems
    return found


@pytest.mark.parametrize(
    ("text", "line", "key", "said"),
    [
        (
            "[peers.a]\nlifetime = 4h\n",
            2,
            "peers.a.lifetime",
            '4h has no quotes; allowed: strings need quotes: lifetime = "4h"',
        ),
        ("[peers.a]\nlocal = 10.1.1.246  # ours\n", 2, "peers.a.local", 'strings need quotes: local = "10.1.1.246"'),
        ("address = 10.44.4.6/30\n", 1, "address", 'address = "10.44.4.6/30"'),
        ("mtu = auto\n", 1, "mtu", 'mtu = "auto"'),
        ("hours = Mon-Fri 07:00-23:00\n", 1, "hours", 'hours = "Mon-Fri 07:00-23:00"'),
        ("hours = 07:00-23:00\n", 1, "hours", 'hours = "07:00-23:00"'),
        ("sources = [10.1.1.1, 10.2.2.2]\n", 1, "sources", '10.1.1.1 has no quotes; allowed: strings need quotes: "10'),
        ('proposals = [\n  "aes256gcm16",\n  aes256,\n]\n', 3, "proposals", 'strings need quotes: "aes256"'),
        ("a = { b = 4h }\n", 1, "a.b", '4h has no quotes; allowed: strings need quotes: "4h"'),
        ("[a]\nreply = True\n", 2, "a.reply", "True is no value; allowed: reply = true, in small letters"),
        ("reply = no # never\n", 1, "reply", "allowed: reply = false"),
        ("x = “abc”\n", 1, "x", '“abc” has typographic quotes; allowed: plain ones, x = "abc"'),
        ("psk = correct-horse\n", 1, "psk", 'the value has no quotes; allowed: strings need quotes: psk = "..."'),
        ('x = "a" "b"\n', 1, "x", "not valid TOML: Expected newline"),
        ("mtu = 012\n", 1, "mtu", "not valid TOML: "),
        ('[a]\nx = """abc\n\n', 2, "a.x", "not valid TOML: Unterminated string, at the end of the file"),
        ("[a]\nx = 1\nx = [\n 2,\n]\n", 5, "a.x", "a.x is there already, at line 2; allowed: each table and key once"),
        ("a.b = 1\na = 2", 2, "a", "a is there already, at line 1"),
        ("a = { b = 1, b = 2 }\n", 1, "a.b", "a.b is there already; allowed: each table and key once"),
        ("[a]\nb = true\n[a.b]\n", 3, "a.b", "a.b is there already, at line 2; allowed: each table and key once"),
        ("[groups]\n[[groups]]\n", 2, "groups", "groups is there already, at line 1"),
        ("[peers.a]\nx = 1\n[peers.a]\n", 3, "peers.a", "peers.a is there already, at line 1"),
        ("[a]\nx = '1\"\ny = 'z'\n", 2, "a.x", "not valid TOML: "),
        ("[peers.dc tun]\n", 1, "", 'in quotes: [peers."a b"]'),
        ("[[groups]\n", 1, "", "allowed: [TABLE] or [[TABLE]]"),
        ("mtu : 3\n", 1, "", "allowed: [TABLE] or KEY = VALUE"),
    ],
)
def test_what_is_said(text: str, line: int, key: str, said: str) -> None:
    found = problem(text)
    assert (found.line, found.key) == (line, key)
    assert said in found.text
    assert "; allowed: " in found.text


def test_a_secret_without_quotes_is_not_shown() -> None:
    assert "correct" not in str(problem("psk_file = correct-horse\n"))
    assert "correct" not in str(problem("psk_file = “correct-horse”\n"))
