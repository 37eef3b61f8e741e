"""The process that does GRE in user space, by the same code as the daemon, in the reader's namespace."""

import asyncio
import os
import sys

from mcastd.links import Gre
from mcastd.tools.bench.child import answer, begin, question
from mcastd.tools.bench.plan import FAR, NEAR, TUNNEL
from mcastd.tunnel.userspace import Pump


def main() -> None:
    """Copy packets; each line that comes is answered with what was dropped, by reason."""
    begin(sys.argv[1])
    loop = asyncio.new_event_loop()
    pump = Pump(TUNNEL, Gre(NEAR, FAR))
    pump.start(loop)

    def asked() -> None:
        question()
        answer(pump.lost())

    loop.add_reader(sys.stdin.fileno(), asked)
    answer(os.getpid())
    loop.run_forever()


if __name__ == "__main__":
    main()
