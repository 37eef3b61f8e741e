"""What the tests of one link's machine share: a router with one interface, and what it did."""

from ipaddress import IPv4Address
from random import Random

from msgspec.structs import replace

from mcastd.config.model import Group
from mcastd.pim.effects import Effect, Send
from mcastd.pim.packet import ALL_PIM_ROUTERS, Hello, JoinPrune, MessageType, decode_join_prune, encode_hello, unseal
from mcastd.pim.report import pim_status
from mcastd.pim.router import Router
from mcastd.pim.settings import PimInterface
from tests.simulator.world import NAME, UPSTREAM, WantedRouter, settings

GROUP, SSM_GROUP, SOURCE = IPv4Address("239.1.2.3"), IPv4Address("232.1.2.3"), IPv4Address("10.9.0.1")
OTHER = IPv4Address("10.44.4.7")
OTHER_RP = IPv4Address("100.15.30.99")
NOW = 100.0


def started(own: PimInterface | None = None, *groups: IPv4Address) -> WantedRouter:
    router = WantedRouter(Random(1))
    wanted = tuple(Group(group=group, tunnel=NAME) for group in groups)
    router.want((own or settings(),), wanted, NOW)
    return router


def sends(effects: list[Effect]) -> list[Send]:
    return [effect for effect in effects if isinstance(effect, Send)]


def join_prunes(effects: list[Effect]) -> list[JoinPrune]:
    found = [effect.payload for effect in sends(effects) if effect.kind is MessageType.JOIN_PRUNE]
    return [decode_join_prune(unseal(payload)[1]) for payload in found]


def hello(router: Router, source: IPv4Address = UPSTREAM, now: float = NOW, **options: object) -> list[Effect]:
    data = encode_hello(replace(Hello(holdtime=105, generation_id=1), **options))
    return router.received(NAME, source, ALL_PIM_ROUTERS, data, now)


def dropped(router: Router) -> dict[str, int]:
    return pim_status(router, NAME, True, {}, NOW).dropped
