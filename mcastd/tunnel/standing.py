"""Which tunnels of a previous process are still up."""

from mcastd.config.model import Config
from mcastd.tunnel.desired import LinkView
from mcastd.tunnel.host import Host


async def standing(host: Host, config: Config) -> dict[str, LinkView]:
    """The tunnels of a configuration whose links in the kernel are mcastd's and up, by name. Raises HostError."""
    found = {}
    for tunnel in config.tunnels:
        link = await host.find(tunnel.name)
        # A TUN interface carries nothing without its process.
        if link is not None and link.up and link.parameters is not None:
            secondary = tuple(address.ip for address in tunnel.addresses)
            found[tunnel.name] = LinkView(link.index, link.mtu, tunnel.address.ip, True, 1, secondary)
    return found
