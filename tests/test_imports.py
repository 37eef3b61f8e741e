"""What a process loads is what it weighs: the daemon and the commands leave out what is not theirs."""

import subprocess
import sys

import pytest

DAEMON = ("scapy", "rich", "multiprocessing.pool", "prometheus_client", "mcastd.lab", "mcastd.tools.trace")
COMMAND = (*DAEMON, "pyroute2", "structlog", "vici", "mcastd.daemon")


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("mcastd.daemon", DAEMON),
        *(
            (f"mcastd.cli.{name}", COMMAND)
            for name in ("status", "reload", "join", "leave", "params", "peer_config", "import_")
        ),
    ],
)
def test_what_is_not_loaded(module: str, absent: tuple[str, ...]) -> None:
    code = f"import {module}, sys; print(*(name for name in {absent!r} if sys.modules.get(name)))"
    loaded = subprocess.run((sys.executable, "-c", code), check=True, capture_output=True, text=True).stdout
    assert loaded.split() == []
