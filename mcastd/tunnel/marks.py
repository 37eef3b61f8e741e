"""What carries the mark of mcastd on the host, for a process whose ledger does not have it.

    link       its alias, which the kernel keeps with it
    address    the label of an address on the loopback
    route      its protocol number, on a link with the alias
    rule       its protocol number and its priority

An entry of the ledger says what to look for. What is removed has the mark as well, whatever the entry says.
"""

from typing import Final

from mcastd.links import Gre, Link, Vxlan, Xfrm
from mcastd.system.ledger import Ledger
from mcastd.system.ledger_file import ENDPOINT_LABEL
from mcastd.tunnel import routes
from mcastd.tunnel.desired import TunGre
from mcastd.tunnel.kernel import Netlink

ALIAS: Final = "made by mcastd"
LOOPBACK: Final = 1
"""The index of lo."""
LINK: Final = "link"
ENDPOINT: Final = "endpoint"
ROUTES: Final = "routes"
RULE: Final = "rule"

RECORDED: Final = {Gre: "kernel", TunGre: "userspace", Xfrm: "xfrm", Vxlan: "vxlan"}
"""What the ledger says of a link."""
_RECORDED_AS: Final = {
    "gre": "kernel",
    "tun": "userspace",
    "xfrm": "xfrm",
    "vxlan": "vxlan",
}  # by the kernel's kind of it


def is_marked(link: Link, recorded: object) -> bool:
    """Whether a link is one that mcastd has recorded, and not another program's in its place.

    One that has never been up may lack its alias: the process ended between making it and marking it.
    """
    is_recorded = recorded is not None and recorded == _RECORDED_AS.get(link.kind or "")
    return is_recorded and (link.alias == ALIAS or not (link.alias or link.up))


async def adopt(netlink: Netlink, ledger: Ledger) -> list[str]:
    """Record what is marked and not recorded; returns it in words. Raises HostError."""
    links = {link.index: link for link in await netlink.links() if link.alias == ALIAS}
    marked = [(LINK, link.name, _RECORDED_AS.get(link.kind or ""), str(link)) for link in links.values()]
    marked += [
        (ENDPOINT, str(address.interface), ENDPOINT_LABEL, f"{address} on lo")
        for address in await netlink.addresses()
        if (address.index, address.label, address.interface.network.prefixlen) == (LOOPBACK, ENDPOINT_LABEL, 32)
    ]
    marked += [
        (RULE, f"{rule.source} {rule.table}", None, str(rule))
        for rule in await netlink.rules()
        if routes.is_marked(rule)
    ]
    found = [text for kind, key, value, text in marked if ledger.found(kind, key, value)]
    if ledger.is_incomplete:
        tables = [
            (links[index].name, table) for index, table in await netlink.routed(routes.PROTOCOL) if index in links
        ]
        for name, table in sorted(tables):
            ledger.found(ROUTES, f"{name} {table}")
    return found
