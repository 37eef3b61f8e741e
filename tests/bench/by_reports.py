"""mcastd as on a kernel before Linux 6.14, which does not notify of joined groups: it follows IGMP reports alone."""

from collections.abc import Callable
from typing import NoReturn

from mcastd.cli import main
from mcastd.errors import HostError
from mcastd.system import multicast_addresses


def refused(_on_arrival: Callable[[], None]) -> NoReturn:
    raise HostError("no notifications of joined groups: Invalid argument")


if __name__ == "__main__":
    vars(multicast_addresses)["changes"] = refused
    raise SystemExit(main())
