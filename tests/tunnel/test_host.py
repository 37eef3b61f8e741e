"""A tunnel's further addresses on a real kernel, which has an order of its own."""

import json
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from mcastd.config.model import Tunnel
from tests.namespaces import Namespace, join, until
from tests.tunnel.agents import running, tunnel

pytestmark = pytest.mark.root


@pytest.fixture
def host(namespace: Callable[[], Namespace]) -> Namespace:
    """A host with a cable and a default route."""
    made, internet = namespace(), namespace()
    join(made, "192.0.2.1/24", internet, "192.0.2.2/24")
    made.ip("route", "add", "default", "via", "192.0.2.2")
    return made


def in_order(namespace: Namespace) -> list[str]:
    """The addresses of gre1, as the kernel lists them."""
    (link,) = json.loads(namespace.ip("-json", "address", "show", "dev", "gre1"))
    return [f"{found['local']}/{found['prefixlen']}" for found in link["addr_info"]]


def test_further_addresses_come_and_go_and_the_primary_one_stays_first(host: Namespace, tmp_path: Path) -> None:
    def with_these(primary: str, *further: str) -> Tunnel:
        addresses = tuple(IPv4Interface(text) for text in further)
        return tunnel(address=IPv4Interface(primary), peer_address=None, addresses=addresses)

    def is_whole(wanted: tuple[str, ...]) -> bool:
        found = in_order(host)
        return found[:1] == [wanted[0]] and sorted(found) == sorted(wanted)

    one, near, far = "10.44.4.6/30", "10.44.4.5/30", "10.50.0.1/24"

    async def main() -> None:
        async with running(tmp_path) as run:
            for wanted in ((one, far), (one, near, far), (near, one), (far, near, one), (one, far), (one,)):
                await run.want(with_these(*wanted))
                assert is_whole(wanted), in_order(host)
                view = run.agent.links().get("gre1")
                assert view is not None
                assert view.secondary == tuple(IPv4Interface(text).ip for text in wanted[1:])
                run.changes = 0
                host.ip("address", "delete", wanted[-1], "dev", "gre1")
                await until(partial(is_whole, wanted), "repaired")
                await until(lambda: run.changes == 1, "reported")

    host.run(main)
