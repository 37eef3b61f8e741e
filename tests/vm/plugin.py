"""Tests that need what this kernel lacks run in one that has it, and are reported here under their own names.

``kernel(ABILITY ...)`` marks a test that needs these; where one is missing, the test runs in a machine instead.
``also_kernel(ABILITY ...)`` marks one that runs here in any case, and where GRE, ESP or one of these is missing in a
machine as well. One machine runs all tests of a unit (tests/lanes.py). What failed there, was skipped or did not run
has failed.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests import lanes
from tests.vm import abilities
from tests.vm.kernels import Kind
from tests.vm.machine import INSIDE, Machine, MachineError, Options

# Set where the lab must find this datapath.
DATAPATH = "MCASTD_TEST_DATAPATH"
# The property of a report that names the machine, if there was one.
MACHINE = "machine"
_RESULTS = "tests.jsonl"
_LIMIT = 1500.0
_MARKERS = (
    "kernel(*abilities): needs these of the kernel; runs in a virtual machine where one is missing",
    "also_kernel(*abilities): runs here and, where the kernel has no GRE and ESP, again in a virtual machine that has",
    "vm: runs in a virtual machine",
)


def configure(config: pytest.Config) -> None:
    """Register what this side of the machine's wall needs."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    if INSIDE in os.environ:
        config.pluginmanager.register(Recorder(Path("/vm/results") / _RESULTS))
    else:
        config.pluginmanager.register(Outside())


class Recorder:
    """Inside: writes the outcome of each test as a line of JSON, as soon as it has ended."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")
        self._outcome, self._texts = "passed", list[str]()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome != "passed":
            self._outcome = report.outcome
            self._texts.append("\n".join([report.longreprtext, *(text for _, text in report.sections)]))
        if report.when == "teardown":
            found = {"test": report.nodeid, "outcome": self._outcome, "text": "\n".join(self._texts)}
            self._file.write(json.dumps(found) + "\n")
            self._file.flush()
            self._outcome, self._texts = "passed", []


class Run:
    """Outside: one machine and the tests that it runs."""

    def __init__(self, kind: Kind, tests: list[str], processors: int) -> None:
        self._results: dict[str, dict[str, Any]] = {}
        self._waiting = set(tests)
        self._problem: str | None = None
        self._stack = ExitStack()
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *tests]
        options = Options(kind=kind, limit=_LIMIT, processors=processors, environment={DATAPATH: "kernel"})
        self._machine = self._stack.enter_context(Machine(command, options))

    def result(self, test: str) -> tuple[str, str]:
        """Outcome and text of a test, when it has ended; the last one switches the machine off."""
        while test not in self._results and self._problem is None:
            try:
                if (status := self._machine.step()) is not None:
                    self._problem = f"pytest ended with exit status {status}"
            except MachineError as error:
                self._problem = str(error)
            self._read()
        self._waiting.discard(test)
        if test in self._results:
            outcome = self._results[test]["outcome"], self._results[test]["text"]
        else:
            outcome = "not run", f"{self._problem}\n{self._machine.output().decode(errors='replace')[-8000:]}"
        if not self._waiting:
            self.close()
        return outcome

    def _read(self) -> None:
        path = self._machine.results / _RESULTS
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        for line in lines[len(self._results) :]:
            if line.endswith("\n"):
                found = json.loads(line)
                self._results[found["test"]] = found

    def close(self) -> None:
        """Switch the machine off."""
        self._stack.close()


class InsideTestFailed(Exception):
    """A test did not pass inside; with what it said there."""


class InsideTest(pytest.Item):
    """A test that runs in a machine."""

    def __init__(self, *, original: pytest.Item, kind: Kind, outside: "Outside", **options: Any) -> None:
        super().__init__(**options)
        self.original = original
        self.kind = kind
        self._outside = outside
        self.user_properties.append((MACHINE, kind))
        self.own_markers.extend(original.own_markers)
        self.keywords.update((marker.name, marker) for marker in original.own_markers)
        for name in ("root", "vm"):
            self.add_marker(name)

    def runtest(self) -> None:
        """Wait for its outcome."""
        outcome, text = self._outside.run_of(self).result(self.original.nodeid)
        if outcome != "passed":
            raise InsideTestFailed(f"{outcome} in {self.kind}:\n{text}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What it said inside."""
        if isinstance(excinfo.value, InsideTestFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Where it is."""
        path, line, _ = self.original.reportinfo()
        return path, line, self.name


class Outside:
    """Puts tests into machines, and keeps the machines."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}  # by unit

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Put beside a test what runs of it in a machine, or put that in its place."""
        report = yield
        # A session that was asked for single tests has them from their modules, which are asked as well.
        if report.outcome == "passed" and not isinstance(collector, pytest.Session):
            report.result = [each for found in report.result for each in self._here_and_inside(found, collector)]
        return report

    def _here_and_inside(
        self, found: pytest.Item | pytest.Collector, collector: pytest.Collector
    ) -> Iterator[pytest.Item | pytest.Collector]:
        if not isinstance(found, pytest.Item) or not self._lacks(found, "kernel"):
            yield found
        if isinstance(found, pytest.Item):
            for kind in self._machines(found):
                options = {"original": found, "kind": kind, "outside": self, "name": f"{found.name}[{kind}]"}
                yield InsideTest.from_parent(collector, **options)

    def _machines(self, item: pytest.Item) -> Iterator[Kind]:
        for name in ("kernel", "also_kernel"):
            if self._lacks(item, name):
                yield abilities.machine_for(_needs(item, name))
                return

    def _lacks(self, item: pytest.Item, name: str) -> bool:
        return any(os.geteuid() != 0 or not abilities.has(ability) for ability in _needs(item, name))

    def run_of(self, item: InsideTest) -> Run:
        """The machine that runs a test, started with the first of its tests."""
        unit = lanes.unit(item.nodeid)
        if unit not in self._runs:
            items = (each for each in item.session.items if isinstance(each, InsideTest))
            mine = [each for each in items if lanes.unit(each.nodeid) == unit]
            # An emulated processor is quicker alone than with another one.
            two = any("two-cpus" in _needs(each.original, name) for each in mine for name in ("kernel", "also_kernel"))
            self._runs[unit] = Run(item.kind, [each.original.nodeid for each in mine], 2 if two else 1)
        return self._runs[unit]

    def pytest_sessionfinish(self) -> None:
        for run in self._runs.values():
            run.close()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what ran where."""
        reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
        if found := Counter(value for report in reports for name, value in report.user_properties if name == MACHINE):
            counts = ", ".join(f"{count} in {kind}" for kind, count in found.items())
            terminalreporter.write_line(f"in virtual machines, for what this kernel lacks: {counts}")


def _needs(item: pytest.Item, name: str) -> frozenset[str]:
    found = list(item.iter_markers(name))
    needs = frozenset(ability for marker in found for ability in marker.args)
    if unknown := needs - abilities.PROBES.keys():
        raise pytest.UsageError(f"{item.nodeid}: no such ability of a kernel: {', '.join(sorted(unknown))}")
    return needs | abilities.DATAPATH if found and name == "also_kernel" else needs
