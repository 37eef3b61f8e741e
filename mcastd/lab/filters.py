"""The packet filters of a scene: by nftables, or by iptables where the kernel has no nftables for IPv4."""

import json
import re
from functools import cached_property

from mcastd.lab import topology
from mcastd.lab.commands import works
from mcastd.lab.places import Places
from mcastd.lab.topology import DC, INTERNET

_NFT = ["nft", "-f", "-"]
_IPTABLES = ["iptables-legacy-restore", "--noflush"]
_LEAKED = re.compile(r"^\[(\d+):\d+\] .*leaked_gre", re.MULTILINE)


class Filters:
    """The internet's gateway and the data centre's crypto map."""

    def __init__(self, places: Places) -> None:
        self._places = places

    @cached_property
    def nftables(self) -> bool:
        """Whether the kernel has nftables for IPv4."""
        return works(self._places.argv(INTERNET, ["nft", "--check", "add", "table", "ip", "probe"]))

    def start(self) -> None:
        """Load both."""
        if self.nftables:
            self._places.command(INTERNET, _NFT, text=topology.GATEWAY)
            self._places.command(DC, _NFT, text=topology.CRYPTO_MAP)
        else:
            self._places.command(INTERNET, _IPTABLES, text=topology.GATEWAY_IPTABLES)
            self._places.command(DC, _IPTABLES, text=topology.CRYPTO_MAP_IPTABLES)

    def block(self, *ports: int) -> None:
        """Let the internet lose UDP to these ports; without ports, none."""
        if self.nftables:
            blocked = f"add element ip gateway blocked {{ {', '.join(map(str, ports))} }}\n" if ports else ""
            self._places.command(INTERNET, _NFT, text=f"flush set ip gateway blocked\n{blocked}")
        else:
            rules = "".join(f"-A blocked -p udp --dport {port} -j DROP\n" for port in ports)
            self._places.command(INTERNET, _IPTABLES, text=f"*filter\n:blocked -\n{rules}COMMIT\n")

    def leaked(self) -> int:
        """How many GRE packets the internet has seen in the clear."""
        if not self.nftables:
            answer = self._places.command(INTERNET, ["iptables-legacy-save", "--counters", "--table", "filter"])
            return sum(int(found[1]) for found in _LEAKED.finditer(answer))
        answer = self._places.command(INTERNET, ["nft", "-j", "list", "counter", "ip", "gateway", "leaked_gre"])
        return next(int(entry["counter"]["packets"]) for entry in json.loads(answer)["nftables"] if "counter" in entry)
