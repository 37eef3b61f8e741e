"""``mcastd`` and ``python -m mcastd``."""

import sys

from mcastd.cli import main

if __name__ == "__main__":
    sys.exit(main())
