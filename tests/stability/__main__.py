"""``./dev docs`` runs this: the files beside it get what was added; ``--removed`` also takes out what is gone."""

import sys

from tests.stability.surface import difference, path_of, stored, surface


def main() -> int:
    """Write the files; returns the exit code."""
    old, new = stored(), surface()
    gone, _ = difference(old, new)
    if gone and "--removed" not in sys.argv[1:]:
        text = "\n  ".join(gone)
        print(  # noqa: T201  # a command prints
            f"dev: gone, or changed, of what docs/stability.md promises:\n  {text}\n"
            "dev: keep it, or see there what a change needs, and then: ./dev docs --removed",
            file=sys.stderr,
        )
        return 1
    for name, lines in new.items():
        path_of(name).write_text("".join(f"{line}\n" for line in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
