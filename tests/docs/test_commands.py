"""Every command that the docs show is one: its arguments are right, and a test runs it."""

import re
from pathlib import Path

import pytest

from mcastd.cli import command_line
from tests.docs.commands import PAGES, ROOT, Command, shown

ALL = shown()
OURS = sorted({one.argv for one in ALL if one.argv[0] == "mcastd" and "[" not in " ".join(one.argv)})
# Of other programs: the test in which they are run so, or why none can.
OTHERS = {
    "./dev": ".ci/run",
    "systemctl": "tests/service/scenario.py",
    "python3": "tests/lab/test_documented.py",
    "apt": "",  # tests/service installs the package with dpkg: it has no archive
    "curl": "",  # tests/metrics asks as Prometheus does
    "aws": "",  # needs an account
    "docker": "",  # needs a registry
}


@pytest.mark.parametrize("argv", OURS, ids=" ".join)
def test_arguments_are_those_that_the_command_takes(argv: tuple[str, ...]) -> None:
    assert command_line({argv[1]}).parse_args(argv[1:]).command == argv[1]


def test_there_is_a_test_that_runs_what_is_not_ours() -> None:
    programs = {one.argv[0] for one in ALL} - {"mcastd"}
    known = {program: test for program, test in OTHERS.items() if program in programs}
    assert programs - {"chgrp", "grep", "jq", "mkdir", "ln", "printf", "sudoedit", "chmod", "install"} == set(known)
    for program, test in known.items():
        assert not test or program.removeprefix("./") in (ROOT / test).read_text()


def test_every_page_is_in_the_index_and_every_link_leads_somewhere() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    for page in PAGES:
        text = page.read_text()
        assert page.name in index or page.name == "README.md"
        for link in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_anchors_exist() -> None:
    for page in PAGES:
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text()):
            assert anchor in _anchors(page.parent / target if target else page), f"{page.name}: {target}#{anchor}"


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


def test_commands_are_found() -> None:
    assert len(OURS) > 30
    assert Command("README.md", ALL[0].line, ("./dev", "lab", "--seconds", "20")) == ALL[0]
