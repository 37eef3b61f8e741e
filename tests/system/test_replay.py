"""What the kernel's own ESP says of its replay window: packets that are lost on the way, and an SA that is gone."""

import socket
from collections.abc import Callable
from ipaddress import IPv4Address

import pytest

from mcastd.net.xfrm import Replay, Sa
from mcastd.system import counters
from tests.namespaces import Namespace, join

pytestmark = [pytest.mark.root, pytest.mark.kernel("esp")]

HERE, THERE = "192.0.2.1", "192.0.2.2"
SA = Sa(IPv4Address(HERE), 0x1000)
KEYS = f"enc cbc(aes) 0x{'11' * 32} auth-trunc hmac(sha256) 0x{'22' * 32} 128"


@pytest.mark.parametrize("window", ["replay-window 32", "replay-window 128 flag esn"])
def test_what_did_not_come_is_missing(namespace: Callable[[], Namespace], window: str) -> None:
    here, there = namespace(), namespace()
    join(here, f"{HERE}/24", there, f"{THERE}/24")
    state = f"xfrm state add src {THERE} dst {HERE} proto esp spi {SA.spi} mode transport {window} {KEYS}"
    here.batch(state)
    template = f"tmpl src {THERE} dst {HERE} proto esp mode transport"
    there.batch(state, f"xfrm policy add src {THERE}/32 dst {HERE}/32 dir out {template}")

    def send(packets: int) -> None:
        def sending() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                for _ in range(packets):
                    sock.sendto(b"x", (HERE, 5000))

        there.call(sending)

    def replay() -> Replay | None:
        async def reading() -> list[Replay | None]:
            return [found async for _, found in counters.replay([SA])]

        (found,) = here.run(reading)
        return found

    assert replay() is None
    send(10)
    here.batch(f"address del {HERE}/24 dev veth0")  # nothing is for this host then
    send(5)
    here.batch(f"address add {HERE}/24 dev veth0")
    send(10)
    assert replay() == Replay(25, 20)
    here.batch("xfrm state flush")
    assert replay() is None
