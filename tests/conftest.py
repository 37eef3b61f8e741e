import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests import lanes
from tests.namespaces import Namespace
from tests.vm import plugin
from tests.vm.machine import INSIDE

PROJECT = Path(__file__).parents[1]

# What runs in a machine has no examples, and an emulated one takes seconds to import this.
if INSIDE not in os.environ:
    from hypothesis import HealthCheck, settings

    # How long an example takes, and how long it takes to make one, depends on what else the machine does.
    settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("busy")


def pytest_configure(config: pytest.Config) -> None:
    plugin.configure(config)
    config.pluginmanager.register(lanes)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out, and say so, what needs root where we are not."""
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root: network namespaces, raw sockets, charon"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out."""
    left_out = [report for report in terminalreporter.stats.get("skipped", []) if "needs root" in str(report.longrepr)]
    if left_out:
        terminalreporter.write_line(
            f"left out without root: {len(left_out)} tests with real namespaces, charon and FRR"
        )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """As root nothing may be skipped or expected to fail: a test that nobody runs protects nothing."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.geteuid() != 0 or reporter is None or session.config.option.collectonly:
        return
    unrun = [report for kind in ("skipped", "xfailed", "xpassed") for report in reporter.stats.get(kind, [])]
    if unrun:
        reporter.write_line(f"skipped or expected to fail, which is a failure as root: {len(unrun)}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def namespace() -> Iterator[Callable[[], Namespace]]:
    """A function that makes network namespaces, which are gone after the test."""
    made: list[Namespace] = []

    def make() -> Namespace:
        made.append(Namespace())
        return made[-1]

    yield make
    for each in made:
        each.remove()


@pytest.fixture(scope="session")
def package() -> None:
    """The package, built once, however many processes the session has."""
    session = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid4().hex)
    (PROJECT / "build").mkdir(exist_ok=True)
    with (PROJECT / "build" / "session").open("a+") as built_by:
        fcntl.flock(built_by, fcntl.LOCK_EX)
        built_by.seek(0)
        if built_by.read() != session:
            argv = [str(PROJECT / "dev"), "deb", "--for-tests"]
            built = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=PROJECT)
            assert built.returncode == 0, built.stdout + built.stderr
            built_by.truncate(0)
            built_by.write(session)
