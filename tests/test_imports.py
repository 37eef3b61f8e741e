"""What a process loads is what it weighs: the daemon and the commands leave out what is not theirs."""

import subprocess
import sys

import pytest

DAEMON = (
    "scapy",
    "rich",
    "pyroute2.ndb",
    "multiprocessing.pool",
    "prometheus_client",
    "mcastd.lab",
    "mcastd.tools.trace",
)
COMMAND = (*DAEMON, "pyroute2", "structlog", "vici", "mcastd.daemon")
DATACLASSES = """
import sys, mcastd.serve
for name, module in sorted(sys.modules.items()):
    for one in list(vars(module).values()) if name.startswith("mcastd") else ():
        fields = getattr(one, "__dataclass_fields__", None)
        if fields and one.__module__ == name and all(field.compare and field.repr for field in fields.values()):
            print(one)
"""


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
    assert printed(f"import {module}, sys; print(*(name for name in {absent!r} if sys.modules.get(name)))") == []


def test_what_is_shown_in_a_pipe_needs_no_rich() -> None:
    show = "from mcastd.cli import layout, terminal; terminal.show([layout.Text('shown')])"
    assert printed(f"{show}; import sys; print('rich' in sys.modules)") == ["shown", "False"]


def test_the_daemon_makes_no_dataclass_where_a_struct_will_do() -> None:
    assert printed(DATACLASSES) == []


def printed(code: str) -> list[str]:
    return subprocess.run((sys.executable, "-c", code), check=True, capture_output=True, text=True).stdout.split()
