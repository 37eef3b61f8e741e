"""``./dev transcripts``: runs the commands of docs/transcripts.md in the lab, and puts into it what they print.

The first chapter is of a healthy path, the other one of a fault. ``--stored`` needs no lab: the commands get the
answers of the last run, which is enough where only a view has changed.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any
from unittest.mock import patch

import msgspec

from mcastd.lab.topology import CLOUD
from tests.alerts.cases import CASES
from tests.alerts.scene import GROUPS, configure
from tests.faults.lab import Lab
from tests.transcripts.replay import ANSWERS, ASKED, PAGE, Answers, commands, page, printed, stored

_FAULT = next(case for case in CASES if case.name == "all-dropped-here")
_SETTLED = 15.0  # seconds until rates are known
_JSON = {"mcastd.cli.doctor.walk": "doctor", "mcastd.cli.listen._listen": "listen"}  # asked of the command itself


def main() -> int:
    """Write the page, and what was answered in the lab."""
    parser = argparse.ArgumentParser(prog="./dev transcripts", description=__doc__)
    parser.add_argument("--stored", action="store_true", help="without the lab, by the answers of the last run")
    if parser.parse_args().stored:
        PAGE.write_text(stored())
        return 0
    faulty = PAGE.read_text().split("\n## ")[1].count("    $ mcastd")  # the number of the first command with the fault
    outputs, kept = [], []
    with Lab("mcastd-transcripts", GROUPS) as lab:
        configure(lab.scene)
        lab.configuration = lab.scene.config.read_text()
        lab.start()
        time.sleep(_SETTLED)
        for number, command in enumerate(commands()):
            if number == faulty:
                _FAULT.inject(lab)
                time.sleep(_SETTLED)
            output, answers = _record(lab, command)
            outputs.append(output)
            kept.append(answers)
        lab.stop()
    PAGE.write_text(page(iter(outputs)))
    ANSWERS.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")
    return 0


def _record(lab: Lab, command: str) -> tuple[str, Answers]:
    """What a command prints, and what it was answered."""
    answers: Answers = {}

    def recording(name: str) -> Callable[..., Any]:
        module, _, function = name.rpartition(".")
        real = getattr(import_module(module), function)

        def answer(*arguments: Any, **more: Any) -> Any:
            if name in _JSON:
                text = lab.mcastd(*command.split()[1:], "--json").encode()
            else:
                found = real(*arguments, **more)
                text = msgspec.json.encode(found.decode() if isinstance(found, bytes) else found)
            text = text.replace(str(lab.scene.config).encode(), b"/etc/mcastd.toml").strip()
            answers.setdefault(name, []).append(msgspec.Raw(text))
            found = msgspec.json.decode(text, type=ASKED[name])
            return found.encode() if name == "mcastd.control.ask" else found

        return answer

    socket = {"MCASTD_SOCKET": str(lab.scene.folder / CLOUD / "run" / "control.sock")}
    with patch.dict(os.environ, socket):
        return printed(command, {name: recording(name) for name in ASKED}), answers


if __name__ == "__main__":
    sys.exit(main())
