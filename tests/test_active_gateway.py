"""Which of several gateways is active, in simulated time."""

import itertools
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mcastd.active_gateway import BY_HAND, INHERITED, ActiveGateways, Move
from mcastd.config.gateways import by_first, config_in_use
from mcastd.config.model import Child, Config, Peer, Tunnel
from mcastd.errors import ControlRefused
from mcastd.ipsec.state import ChildView
from mcastd.streams.desired import ChildArrival
from mcastd.wiring import Up

GRE = Child(
    name="dc-gre", local_ts=IPv4Network("10.44.6.1/32"), remote_ts=IPv4Network("10.44.7.1/32"),
    proposals=("aes256gcm16-modp2048",),
)  # fmt: skip
TCP = replace(GRE, name="dc-tcp", remote_ts=IPv4Network("100.15.30.0/24"))
DC = Peer(
    name="dc", local=IPv4Address("10.1.1.246"), remote=IPv4Address("177.54.214.20"), local_id="222.45.67.1",
    remote_id="177.54.214.20", proposals=("aes256-sha256-modp2048",), children=(GRE, TCP),
)  # fmt: skip
DC2 = replace(DC, name="dc2", remote=IPv4Address("177.54.214.21"), standby_for="dc", children=())
DC3 = replace(DC2, name="dc3", remote=IPv4Address("177.54.214.22"))
OTHER = replace(DC, name="dr", remote=IPv4Address("10.9.9.9"), children=(replace(GRE, name="dr-gre"),))
TUNNEL = Tunnel(
    name="gre1", local=IPv4Address("10.44.6.1"), remote=IPv4Address("10.44.7.1"),
    address=IPv4Interface("10.44.4.6/30"), child="dc-gre",
)  # fmt: skip
CONFIG = Config(peers=(DC, OTHER, DC2, DC3), tunnels=(TUNNEL,))
UP, DOWN = ChildView(True, 1), ChildView(False, 1)
HEARD, QUIET = ChildArrival(seen=True, receiving=True), ChildArrival(seen=True, quiet=True)


@dataclass
class World:
    """What the policy sees, with a clock that moves only where a test moves it."""

    config: Config = CONFIG
    now: float = 1000.0
    losses: dict[str, int] | None = field(default_factory=dict)
    up: Up = field(default_factory=lambda: Up(children={"dc-gre": UP, "dc-tcp": UP}))
    loaded: tuple[str, ...] = ()
    moves: list[tuple[float, Move]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gateways = ActiveGateways(self.loaded)
        self.look()

    @property
    def active(self) -> str:
        return self.gateways.active.get("dc", "")

    def look(self, **up: Any) -> str:
        """Take what changed; what moves is down at once."""
        self.up = replace(self.up, **up)
        self.gateways.configure(self.config, self.now)
        for move in self.gateways.update(self.config, self.up, self.losses, self.now):
            self.moves.append((self.now, move))
            self.up = replace(self.up, children={"dc-gre": DOWN, "dc-tcp": DOWN})
        return self.active

    def passes(self, seconds: float) -> str:
        """Let time pass, as the daemon does: by the deadlines."""
        end = self.now + seconds
        while (deadline := self.gateways.next_deadline()) is not None and deadline <= end:
            before = len(self.moves), self.now
            self.now = max(self.now, deadline)
            self.look()
            assert (len(self.moves), self.now) != before, "a deadline at which nothing happens"
        self.now = end
        return self.look()

    def lose(self, name: str) -> str:
        assert self.losses is not None
        self.losses[name] = self.losses.get(name, 0) + 1
        return self.look(children={"dc-gre": DOWN, "dc-tcp": DOWN})

    def comes_up(self) -> str:
        return self.look(children={"dc-gre": UP, "dc-tcp": UP})

    def causes(self) -> list[str]:
        return [move.cause for _, move in self.moves]


def test_the_order_is_that_of_the_file_and_only_the_active_one_has_the_children() -> None:
    assert [peer.name for peer in by_first(CONFIG.peers)["dc"]] == ["dc", "dc2", "dc3"]
    assert by_first((DC, OTHER)) == {}
    used = config_in_use(CONFIG, {"dc": "dc3"}).peers
    assert [(peer.name, [child.name for child in peer.children]) for peer in used] == [
        ("dc3", ["dc-gre", "dc-tcp"]), ("dr", ["dr-gre"]),
    ]  # fmt: skip
    assert [peer.name for peer in config_in_use(CONFIG, {"dc": "gone"}).peers] == ["dc", "dr"]


def test_an_ike_sa_that_the_peer_deleted_moves_at_once() -> None:
    world = World()
    assert (world.active, world.gateways.next_deadline()) == ("dc", None)
    assert world.lose("dc") == "dc2"
    assert world.causes() == ["its IKE_SA ended: it deleted it, or did not answer"]
    assert list(world.gateways.problems()) != []


def test_one_that_is_not_up_in_time_is_left_for_the_next_and_the_round_takes_longer_each_time() -> None:
    world = World(up=Up(children={"dc-gre": DOWN}))
    world.passes(300.0)
    begins = [round(at - 1000.0) for at, _ in world.moves]
    assert begins[:7] == [10, 20, 30, 50, 70, 90, 130]
    assert [move.after for _, move in world.moves][:4] == ["dc2", "dc3", "dc", "dc2"]
    assert world.causes()[0] == "it is not up for 10 s"


def test_it_is_up_while_one_child_is_that_carries_a_tunnel() -> None:
    world = World()
    world.look(children={"dc-gre": UP, "dc-tcp": DOWN})
    assert world.passes(3600.0) == "dc"
    world.look(children={"dc-gre": DOWN, "dc-tcp": UP})
    assert world.passes(10.0) == "dc2"
    without = World(config=replace(CONFIG, tunnels=()))
    without.look(children={"dc-gre": DOWN, "dc-tcp": UP})
    assert without.passes(3600.0) == "dc", "no tunnel: any of them"


@pytest.mark.parametrize(
    ("sign", "cause"),
    [
        ({"dead_paths": {"gre1": 1}, "paths_dead": frozenset({"gre1"})}, "our keepalives on gre1 are not answered"),
        ({"keepalives_stopped": frozenset({"gre1"})}, "the far end's keepalives on gre1 have stopped"),
    ],
)
def test_keepalives_that_stop_move_where_nothing_is_decrypted_and_only_once(sign: dict[str, Any], cause: str) -> None:
    world = World()
    assert world.look(decrypted={"dc-gre": HEARD}, **sign) == "dc"
    assert world.look(decrypted={"dc-gre": QUIET, "dr-gre": HEARD}) == "dc2"
    assert world.causes() == [cause]
    world.comes_up()
    assert world.passes(3600.0) == "dc2", "the sign is that of the gateway before"
    again: dict[str, Any] = {"dead_paths": {"gre1": 2}} if "dead_paths" in sign else {"keepalives_stopped": frozenset()}
    world.look(**again)
    assert world.look(**sign | ({"dead_paths": {"gre1": 2}} if "dead_paths" in sign else {})) == "dc3"


def test_keepalives_that_are_answered_again_move_nothing() -> None:
    world = World()
    assert world.look(decrypted={"dc-gre": HEARD}, dead_paths={"gre1": 1}) == "dc"
    assert world.look(decrypted={"dc-gre": QUIET}) == "dc"


def test_signs_of_another_tunnel_move_nothing() -> None:
    world = World()
    assert world.look(dead_paths={"gre9": 3}, keepalives_stopped=frozenset({"gre9"})) == "dc"


def test_gateways_that_accept_and_delete_do_not_take_turns_faster_than_the_hold() -> None:
    world = World()
    world.lose("dc")
    for _ in range(100):
        world.passes(0.5)
        world.comes_up()
        world.lose(world.active)
    assert len(world.moves) <= 1 + 50 / 10


def test_what_ended_and_came_up_again_before_the_hold_is_forgotten() -> None:
    world = World()
    world.lose("dc")
    world.comes_up()
    world.passes(1.0)
    assert world.lose("dc2") == "dc2"
    world.comes_up()
    assert world.passes(60.0) == "dc2"


def test_without_charon_nothing_is_known() -> None:
    world = World()
    world.losses = None
    world.look(children={"dc-gre": DOWN, "dc-tcp": DOWN})
    assert world.passes(3600.0) == "dc"
    world.losses = {"dc": 0}
    world.look()
    assert world.passes(9.0) == "dc"
    assert world.passes(1.0) == "dc2"


def test_nothing_moves_back_by_itself_but_by_hand() -> None:
    world = World()
    world.lose("dc")
    world.comes_up()
    assert world.passes(86400.0) == "dc2"
    (problem,) = world.gateways.problems()
    assert (problem.code, problem.subject) == ("on_standby", "dc")
    assert problem.text.endswith("mcastd use dc when that is well again")
    assert world.gateways.use("dc", world.up, world.losses, world.now) == Move("dc2", "dc", BY_HAND)
    assert (world.look(), list(world.gateways.problems())) == ("dc", [])


def test_a_standby_that_is_wanted_by_hand_is_no_problem() -> None:
    world = World()
    world.gateways.use("dc3", world.up, world.losses, world.now)
    assert (world.active, list(world.gateways.problems())) == ("dc3", [])
    world = World()
    world.lose("dc")
    assert world.gateways.use("dc2", world.up, world.losses, world.now) == Move("dc2", "dc2", BY_HAND)
    assert list(world.gateways.problems()) == []
    with pytest.raises(ControlRefused, match="dr is not one of several gateways; those are: dc, dc2, dc3"):
        world.gateways.use("dr", world.up, world.losses, world.now)


def test_the_next_process_goes_on_with_the_gateway_that_has_the_sas() -> None:
    world = World(loaded=("dr", "dc", "dc3"))
    assert world.passes(60.0) == "dc3"
    (problem,) = world.gateways.problems()
    assert INHERITED in problem.text
    assert world.lose("dc3") == "dc"


def test_a_reload_keeps_the_active_one_if_it_is_still_there() -> None:
    world = World()
    world.lose("dc")
    world.config = replace(CONFIG, peers=(DC, replace(DC2, standby_after=60.0), OTHER))
    assert world.passes(59.0) == "dc2"
    world.config = replace(CONFIG, peers=(DC, DC3))
    assert world.look() == "dc"
    world.config = replace(CONFIG, peers=(DC,))
    assert world.look() == ""


@given(
    st.lists(
        st.tuples(st.sampled_from(["lose", "up", "down", "sign", "quiet", "gone", "back", "use"]), st.floats(0, 30))
    )
)
def test_whatever_happens_one_is_active_and_moves_are_apart(inputs: list[tuple[str, float]]) -> None:
    world = World()
    by_hand: set[float] = set()
    for number, (what, seconds) in enumerate(inputs):
        match what:
            case "lose" if world.losses is not None:
                world.lose(world.active)
            case "up":
                world.comes_up()
            case "down":
                world.look(children={"dc-gre": DOWN, "dc-tcp": DOWN})
            case "sign":
                world.look(dead_paths={"gre1": number})
            case "quiet":
                world.look(decrypted={"dc-gre": QUIET})
            case "gone":
                world.losses = None
            case "back":
                world.losses = {}
            case "use":
                world.gateways.use("dc", world.up, world.losses, world.now)
                by_hand.add(world.now)
        world.passes(seconds)
        assert world.active in ("dc", "dc2", "dc3")
    times = [at for at, _ in world.moves]
    for before, after in itertools.pairwise(times):
        assert after - before >= 10.0 - 1e-6 or any(before <= one <= after for one in by_hand)
