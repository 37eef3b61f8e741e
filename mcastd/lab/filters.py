"""The packet filters of a scene, with nftables, or with iptables if the kernel has no nftables for IPv4."""

import json
import re
from functools import cached_property

from mcastd.lab import topology
from mcastd.lab.commands import works
from mcastd.lab.nodes import Nodes
from mcastd.lab.sites import Site
from mcastd.lab.topology import INTERNET

_NFT = ["nft", "-f", "-"]
_IPTABLES = ["iptables-legacy-restore", "--noflush"]
_LEAKED = re.compile(r"^\[(\d+):\d+\] .*leaked_gre", re.MULTILINE)


class Filters:
    """The NAT gateway of the internet node, and the data centres' filter that acts as a crypto map."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    @cached_property
    def nftables(self) -> bool:
        """Whether the kernel has nftables for IPv4."""
        return works(self._nodes.argv(INTERNET, ["nft", "--check", "add", "table", "ip", "probe"]))

    def start(self) -> None:
        """Load both."""
        gateway, crypto_map = topology.GATEWAY, topology.CRYPTO_MAP
        if not self.nftables:
            gateway, crypto_map = topology.GATEWAY_IPTABLES, topology.CRYPTO_MAP_IPTABLES
        argv = _NFT if self.nftables else _IPTABLES
        self._nodes.command(INTERNET, argv, text=gateway)
        for site in self._nodes.sites:
            self._nodes.command(site.node, argv, text=crypto_map)

    def block(self, *ports: int) -> None:
        """Drop UDP to these ports in the internet node; without ports, drop nothing."""
        if self.nftables:
            blocked = f"add element ip gateway blocked {{ {', '.join(map(str, ports))} }}\n" if ports else ""
            self._nodes.command(INTERNET, _NFT, text=f"flush set ip gateway blocked\n{blocked}")
        else:
            rules = "".join(f"-A blocked -p udp --dport {port} -j DROP\n" for port in ports)
            self._nodes.command(INTERNET, _IPTABLES, text=f"*filter\n:blocked -\n{rules}COMMIT\n")

    def cut(self, site: Site, *, off: bool = True) -> None:
        """Cut a data centre off, or connect it again: the internet node drops what comes from it, and goes to it."""
        for selector in (("iif", site.link), ("to", site.public)):
            self._nodes.command(INTERNET, ["ip", "rule", "add" if off else "del", *selector, "blackhole"])

    def leaked(self) -> int:
        """How many unencrypted GRE packets have passed the internet node."""
        if not self.nftables:
            answer = self._nodes.command(INTERNET, ["iptables-legacy-save", "--counters", "--table", "filter"])
            return sum(int(found[1]) for found in _LEAKED.finditer(answer))
        answer = self._nodes.command(INTERNET, ["nft", "-j", "list", "counter", "ip", "gateway", "leaked_gre"])
        return next(int(entry["counter"]["packets"]) for entry in json.loads(answer)["nftables"] if "counter" in entry)
