"""Packet helpers that several parts share: IPv4 and GRE headers, checksums, rates, socket filters. Pure."""
