"""The table of problems is whole: the hops name what is in it and nothing else, and so does the manual."""

import ast
import re
from pathlib import Path

from mcastd.tools.doctor import multicast, path, wire
from mcastd.tools.doctor.advice import ADVICE, found

MANUAL = (Path(__file__).parents[3] / "docs" / "doctor.md").read_text()


def named() -> dict[str, list[set[str]]]:
    """The problems that the hops name, each with the words that it is given, where they are written out."""
    calls: dict[str, list[set[str]]] = {}
    strings: set[str] = set()
    for module in (path, wire, multicast):
        assert module.__file__ is not None
        for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                strings.add(node.value)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "found":
                problem = node.args[1]
                if isinstance(problem, ast.Constant):
                    calls.setdefault(str(problem.value), []).append({str(word.arg) for word in node.keywords})
    return {problem: calls.get(problem, []) for problem in strings & ADVICE.keys() | calls.keys()}


def test_hops_and_table_name_the_same_problems() -> None:
    assert set(named()) == set(ADVICE)


def test_every_problem_gets_the_words_that_its_advice_has() -> None:
    for problem, calls in named().items():
        wanted = set(re.findall(r"{(\w+)}", ADVICE[problem].change))
        for words in calls:
            assert "None" in words or wanted <= words, problem


def test_a_finding_has_its_words_filled_in() -> None:
    finding = found("neighbor", "wrong_neighbor", "10.0.0.1 is heard", tunnel="gre1")
    assert "tunnels.gre1.pim.neighbor" in finding.change
    assert "{" not in finding.change


def test_the_manual_names_every_problem_once() -> None:
    rows = re.findall(r"(?m)^\| `(\w+)` \|", MANUAL)
    assert sorted(rows) == sorted(ADVICE)
