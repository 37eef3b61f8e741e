"""Fuzz one target in this process, or run a history again.

``python -m tests.fuzz.one TARGET [libFuzzer's arguments]``
``python -m tests.fuzz.one TARGET --history FILE``
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mcastd"]):
    from tests.fuzz.targets import TARGETS, read_history

if __name__ == "__main__":
    target = TARGETS[sys.argv[1]]
    if sys.argv[2:3] == ["--history"]:
        for data in read_history(Path(sys.argv[3])):
            target(data)
    else:
        atheris.Setup([sys.argv[0], *sys.argv[2:]], target)
        atheris.Fuzz()
