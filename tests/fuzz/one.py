"""``python -m tests.fuzz.one TARGET [libFuzzer's arguments]``: fuzz one target in this process."""

import sys

import atheris

with atheris.instrument_imports(include=["mcastd"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    target = TARGETS[sys.argv[1]]
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target)
    atheris.Fuzz()
