"""Fuzz one target in this process, or run a history again.

``python -m tests.fuzz.one TARGET [libFuzzer's arguments]``
``python -m tests.fuzz.one TARGET --history FILE``
"""

import atexit
import signal
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
        # libFuzzer's timer for the time limit would still run while Python takes itself down, the handler gone before.
        atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)
        atheris.Setup([sys.argv[0], *sys.argv[2:]], target)
        atheris.Fuzz()
