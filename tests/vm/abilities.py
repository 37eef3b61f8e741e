"""What tests need of a kernel, how to ask for it, and which of the machines has it."""

import subprocess
from collections.abc import Iterable
from functools import cache

from tests.vm.kernels import Kind

_KEYS = f"enc 'cbc(aes)' 0x{'0' * 64} auth-trunc 'hmac(sha256)' 0x{'0' * 64} 128"
# Each succeeds, in a network namespace of its own, where the kernel is able to.
PROBES = {
    "gre": "ip link add probe type gre local 192.0.2.1 remote 192.0.2.2",
    "esp": f"ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1000 mode tunnel {_KEYS}",
    "dummy": "ip link add probe type dummy",
    "netem": "tc qdisc add dev lo root netem delay 1ms",
    "nftables": "nft 'table ip probe { chain out { type filter hook output priority 0; rt ipsec missing drop; }; }'",
    "nftables-nat": "nft 'table ip probe { chain in { type nat hook prerouting priority 0; dnat to 192.0.2.1; }; }'",
    "xfrm-interface": "ip link add probe type xfrm dev lo if_id 7",
    "vrf": "ip link add probe type vrf table 10",
    "pids-cgroup": "mkdir /sys/fs/cgroup/pids/probe-$$ && rmdir /sys/fs/cgroup/pids/probe-$$",
    "two-cpus": "test $(nproc) -gt 1",
}
_UML = frozenset({"gre", "esp", "dummy", "netem", "vrf"})
# The faster one first.
MACHINES: dict[Kind, frozenset[str]] = {"uml": _UML, "qemu": frozenset(PROBES) - {"pids-cgroup"}}
DATAPATH = frozenset({"gre", "esp"})


def machine_for(needs: Iterable[str]) -> Kind:
    """The machine that has all of these."""
    return next(kind for kind, abilities in MACHINES.items() if abilities.issuperset(needs))


@cache
def has(ability: str) -> bool:
    """Whether the kernel that we run on has an ability. Needs root."""
    argv = ["unshare", "--net", "sh", "-c", PROBES[ability]]
    return subprocess.run(argv, check=False, capture_output=True).returncode == 0
