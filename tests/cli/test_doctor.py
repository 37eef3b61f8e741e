"""What ``mcastd doctor`` prints, its exit code, and what of the arguments does not exist."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcastd.cli import doctor, main
from mcastd.tools.doctor.facts import Facts
from mcastd.tools.doctor.walk import Walk
from tests.tools.doctor.observed import SILENT, facts, group, seen
from tests.tools.doctor.test_paths import DOWN, two


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command on facts; returns the exit code and what it printed."""

    def run(observed: Facts, *arguments: str) -> tuple[int, str, str]:
        async def look(*_: object, trace: bool) -> Facts:
            assert trace is ("--trace-firewall" in arguments)
            return observed

        monkeypatch.setattr(doctor, "look", look)
        code = main(["doctor", "-c", str(Path("/nonexistent")), *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_each_path_that_is_well_has_a_line(told: Any) -> None:
    code, out, err = told(two())
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "ok: gre1 (dc-tun-gre, dc-tun): 1 group joined",
        "ok: gre2 (b-gre, b): 1 group joined",
        "ok: b-tcp (b)",
        "Nothing is broken.",
    ]


def test_a_path_that_is_broken_hides_no_other(told: Any) -> None:
    code, out, _ = told(two(DOWN, {"seen": SILENT}), "--trace-firewall")
    assert code == 1
    lines = out.splitlines()
    assert lines[:3] == [
        "ok: gre2 (b-gre, b): 1 group joined, 1 silent",
        "ok: b-tcp (b)",
        "SILENT: gre2: (*, 239.1.1.1)",
    ]
    assert "BROKEN: ike (no_answer) on dc-tun" in lines
    assert not [line for line in lines if line.startswith(("ok: gre1", "Nothing"))]


def test_groups_that_fail_are_listed_with_what_is_well_of_their_path(told: Any) -> None:
    groups = (group(), *(group(group=f"239.2.0.{number}") for number in range(1, 9)))
    _, out, _ = told(two({"groups": groups, "seen": {"delivered": {}}}))
    assert "ok, but for groups: gre1 (dc-tun-gre, dc-tun): 9 groups joined, 8 silent, 1 failing" in out
    assert (
        "SILENT: gre1: (*, 239.2.0.1), (*, 239.2.0.2), (*, 239.2.0.3), (*, 239.2.0.4), (*, 239.2.0.5) and 3 more" in out
    )
    assert "BROKEN: packets_at_an_application (dropped_here) on gre1\n  groups: (*, 239.1.1.1)" in out


def test_json_has_its_keys(told: Any) -> None:
    code, out, _ = told(facts(tunnels={"gre1": seen(delivered={})}), "--json")
    result = msgspec.json.decode(out, type=Walk)
    assert code == 1
    assert (result.schema, result.healthy, result.finding) == (1, False, result.findings[0])
    finding = msgspec.json.decode(out)["findings"][0]
    assert list(finding) == ["hop", "problem", "subject", "groups", "saw", "means", "change", "side"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--tunnel", "gre9"), "--tunnel: there is no tunnel gre9 in mcastd.toml; there are gre1, gre2"),
        (("--group", "239.9.9.9"), "--group: 239.9.9.9 is not joined on any tunnel"),
    ],
)
def test_what_does_not_exist_is_no_verdict(told: Any, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = told(two(), *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"mcastd doctor: {words}")


def test_without_the_daemon_a_group_is_not_looked_for(told: Any) -> None:
    code, out, _ = told(facts(daemon_error="nobody answers", status=None), "--group", "239.9.9.9")
    assert code == 1
    assert "BROKEN: daemon (daemon_silent)\n" in out
