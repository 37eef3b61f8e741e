"""The data centre's GRE interface on a kernel without GRE: a TUN device and GRE in user space, as a process."""

import argparse
import asyncio
import signal
from ipaddress import IPv4Address

from mcastd.links import Gre
from mcastd.tunnel.userspace import Pump


async def carry(name: str, local: IPv4Address, remote: IPv4Address) -> None:
    """Create the interface and forward its packets until SIGTERM."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    pump = Pump(name, Gre(local, remote))
    pump.start(loop)
    pump.forwarding = True
    await stop.wait()
    pump.close()


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m mcastd.lab.dcgre", description=__doc__)
    parser.add_argument("name")
    parser.add_argument("local", type=IPv4Address)
    parser.add_argument("remote", type=IPv4Address)
    args = parser.parse_args()
    asyncio.run(carry(args.name, args.local, args.remote))


if __name__ == "__main__":
    main()
