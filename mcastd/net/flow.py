"""A connection as the kernel tracks it. Pure."""

from typing import NamedTuple


class Flow(NamedTuple):
    """The addresses of a connection's first packet, where its answers go, and its IP protocol. Addresses are numbers.

    Where the answers go is the source, or what SNAT has made of it.
    """

    source: int
    destination: int
    answers_to: int
    protocol: int
