"""A link in simulated time, with mcastd's queriers and the reference's hosts and routers on it."""

import heapq
from collections import deque
from dataclasses import dataclass
from ipaddress import IPv4Address
from math import inf
from random import Random

from mcastd.igmp.effects import Effect, GroupChanged, SendQuery
from mcastd.igmp.querier import Querier
from mcastd.igmp.settings import IgmpInterface, Timing
from mcastd.membership import DesiredGroup
from mcastd.net.igmp import decode
from tests.igmp.reference import Host, OtherRouter

US, SECOND, LOWER = (IPv4Address(f"10.1.1.{n}") for n in (5, 6, 2))
TIMING = Timing(2, 10.0, 2.0, 0.5)


def interface(
    address: IPv4Address = US, timing: Timing = TIMING, *, version: int = 3, fast_leave: bool = False,
    max_groups: int = 1000, max_groups_per_host: int = 500, querier: bool = True,
) -> IgmpInterface:  # fmt: skip
    return IgmpInterface(
        "eth1", address, version=version, timing=timing, fast_leave=fast_leave, max_groups=max_groups,
        max_groups_per_host=max_groups_per_host, querier=querier,
    )  # fmt: skip


@dataclass
class Weather:
    """What the link does to packets. At most ``losses`` packets are lost within ``window`` seconds."""

    loss: float = 0.0
    losses: int = 10**9
    window: float = 0.0
    delay: float = 0.001
    jitter: float = 0.0
    duplicate: float = 0.0


class Router:
    """mcastd's machine on the link."""

    def __init__(self, world: "World", settings: IgmpInterface, *, allowed: bool = True) -> None:
        self.world = world
        self.address = settings.address
        self.outbox: list[tuple[IPv4Address, bytes]] = []
        self.effects: list[Effect] = []
        self.desired: dict[IPv4Address, DesiredGroup] = {}  # as the effects say
        self.machine = Querier(settings, world.now, allowed=allowed)
        self.do(self.machine.advance(world.now))

    def do(self, effects: list[Effect]) -> None:
        self.effects += effects
        for effect in effects:
            if isinstance(effect, SendQuery):
                self.outbox.append((effect.destination, effect.payload))
            elif isinstance(effect, GroupChanged):
                self.desired[effect.group] = effect.desired
                if effect.desired == DesiredGroup():
                    del self.desired[effect.group]

    def receive(self, source: IPv4Address, data: bytes, now: float) -> None:
        self.do(self.machine.receive(source, decode(data), now))

    def next_deadline(self) -> float:
        return self.machine.next_deadline()

    def advance(self, now: float) -> None:
        self.do(self.machine.advance(now))

    def allow(self) -> None:
        self.do(self.machine.allow_queries(self.world.now))

    def forwards(self, group: IPv4Address, source: IPv4Address) -> bool:
        """Whether what a source sends to a group is desired."""
        desired = self.desired.get(group, DesiredGroup())
        return source in desired.sources or (desired.any_source and source not in desired.excluded)


Node = Router | Host | OtherRouter


class World:
    """The link and the clock."""

    def __init__(self, seed: int = 0, weather: Weather | None = None) -> None:
        self.now = 1000.0
        self.random = Random(seed)
        self.weather = weather or Weather()
        self.nodes: list[Node] = []
        self.cut: set[IPv4Address] = set()  # nodes whose cable is unplugged
        self.sent: list[tuple[float, IPv4Address, IPv4Address, bytes]] = []
        self._flight: list[tuple[float, int, Node, IPv4Address, bytes]] = []
        self._count = 0
        self._lost: deque[float] = deque()  # when packets were lost

    def router(self, settings: IgmpInterface | None = None, *, allowed: bool = True) -> Router:
        node = Router(self, settings or interface(), allowed=allowed)
        self.nodes.append(node)
        return node

    def host(self, number: int, version: int = 3, robustness: int = 2) -> Host:
        node = Host(IPv4Address("10.1.1.100") + number, self.random.getrandbits(32), version, robustness)
        self.nodes.append(node)
        return node

    def other(self, address: IPv4Address, version: int = 3, timing: Timing = TIMING) -> OtherRouter:
        node = OtherRouter(
            address, version, timing.robustness, round(timing.query_interval), timing.query_response_interval
        )
        self.nodes.append(node)
        return node

    def remove(self, node: Node) -> None:
        """A node is switched off."""
        self.nodes.remove(node)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while True:
            self._collect()
            deadline = min((node.next_deadline() for node in self.nodes), default=inf)
            arrival = self._flight[0][0] if self._flight else inf
            if min(deadline, arrival) > end:
                self.now = end
                return
            self.now = max(self.now, min(deadline, arrival))
            while self._flight and self._flight[0][0] <= self.now:
                _, _, node, source, data = heapq.heappop(self._flight)
                if node in self.nodes:
                    node.receive(source, data, self.now)
            for node in self.nodes:
                node.advance(self.now)

    def _collect(self) -> None:
        for node in self.nodes:
            outbox, node.outbox = node.outbox, []
            for destination, data in outbox:
                self._transmit(node, destination, data)

    def _transmit(self, sender: Node, destination: IPv4Address, data: bytes) -> None:
        self.sent.append((self.now, sender.address, destination, data))
        if sender.address in self.cut or self._loses():
            return
        for node in self.nodes:
            if node is sender or node.address in self.cut:
                continue
            for _ in range(2 if self.random.random() < self.weather.duplicate else 1):
                arrival = self.now + self.weather.delay + self.random.uniform(0, self.weather.jitter)
                self._count += 1
                heapq.heappush(self._flight, (arrival, self._count, node, sender.address, data))

    def _loses(self) -> bool:
        while self._lost and self._lost[0] <= self.now - self.weather.window:
            self._lost.popleft()
        if len(self._lost) >= self.weather.losses or self.random.random() >= self.weather.loss:
            return False
        self._lost.append(self.now)
        return True

    def queries(self, sender: IPv4Address) -> list[tuple[float, bytes]]:
        """The queries that a node has sent."""
        return [(when, data) for when, source, _, data in self.sent if source == sender and data[0] == 0x11]
