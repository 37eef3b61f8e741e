"""mcastd: a data centre's multicast, in a cloud VM: IPsec, GRE, keepalives and PIM from one file."""

__version__ = "1.0.0"
