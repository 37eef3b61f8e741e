"""mcastd: a data centre's multicast, in a cloud VM: IPsec, GRE, keepalives and PIM from one file."""

__version__ = "0.1.0"
