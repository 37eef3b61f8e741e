import pytest
from msgspec.structs import replace

from mcastd import health
from mcastd.problems import Problem, ProblemCode
from tests.composed import ARTICLE

DOWN = Problem("tunnel_down", "gre1", "tunnel gre1 is down")
CANNOT_SEND = Problem("pim_send_failed", "gre1", "PIM cannot send on gre1: no such device")
PEER = Problem("peer_down", "dc", "peer dc is down")


def test_what_follows_from_a_tunnel_that_is_down_is_left_out() -> None:
    elsewhere = Problem("pim_send_failed", "gre2", "PIM cannot send on gre2: refused")
    assert health.independent([CANNOT_SEND, PEER, DOWN, elsewhere]) == (PEER, DOWN, elsewhere)
    assert health.independent([CANNOT_SEND]) == (CANNOT_SEND,)


def test_the_summary_is_the_problems_or_what_is_up() -> None:
    assert health.summary((PEER, DOWN), 1, 1, 0) == "peer dc is down; tunnel gre1 is down"
    assert health.summary((), 1, 1, 2) == "up: 1 peer(s), 1 tunnel(s), 2 join(s)"


def test_the_summary_of_many_problems_is_short() -> None:
    many = [Problem("peer_down", f"p{number}", f"peer p{number} is down: {'x' * 1000}") for number in range(1000)]
    text = health.summary(many, 1000, 0, 0)
    assert text.startswith("peer p0 is down")
    assert text.endswith("; and 995 more")
    assert len(text) < 2000


@pytest.mark.parametrize(
    ("problems", "expected"),
    [
        ((), "ok"),
        ((("state_not_saved", "/run/mcastd"),), "degraded"),
        ((("tunnel_down", "gre1"),), "down"),
        ((("peer_down", "dc-tun"),), "down"),
        ((("child_sa_down", "dc-tun-gre"),), "down"),
        # The tunnel does not depend on it.
        ((("child_sa_down", "dc-tun-tcp"),), "degraded"),
        ((("nothing_joined", "gre1"),), "down"),
        ((("joins_not_joined", "gre1"),), "degraded"),
        ((("all_silent", "gre1"), ("keepalives_stopped", "gre1")), "degraded"),
        ((("child_sa_silent", "dc-tun-gre"),), "down"),
        ((("agent_failed", "pim"), ("path_dead", "gre1")), "down"),
    ],
)
def test_health_of_the_article_s_path(problems: tuple[tuple[ProblemCode, str], ...], expected: str) -> None:
    assert health.health([Problem(code, subject, "") for code, subject in problems], ARTICLE) == expected


def test_a_peer_a_child_sa_and_a_tunnel_of_one_name_are_three_things() -> None:
    (peer,), (tunnel,) = ARTICLE.peers, ARTICLE.tunnels
    gre, tcp = peer.children
    peer = replace(peer, name="dc", children=(replace(gre, name="gre"), replace(tcp, name="dc")))
    config = replace(ARTICLE, peers=(peer,), tunnels=(replace(tunnel, name="dc", child="gre"),))

    def found(code: ProblemCode, subject: str) -> str:
        return health.health([Problem(code, subject, "")], config)

    assert [found("child_sa_down", name) for name in ("dc", "gre")] == ["degraded", "down"]
    assert [found("child_sa_silent", name) for name in ("dc", "gre")] == ["degraded", "down"]
    assert [found("tunnel_down", name) for name in ("dc", "gre")] == ["down", "degraded"]
    assert [found("peer_down", name) for name in ("dc", "gre")] == ["down", "degraded"]


def test_one_tunnel_of_two_that_is_down_is_degraded() -> None:
    (first,) = ARTICLE.tunnels
    two = replace(ARTICLE, tunnels=(first, replace(first, name="gre2")))
    down = [Problem("tunnel_down", name, "") for name in ("gre1", "gre2")]
    assert [health.health(some, two) for some in ([], down[:1], down[1:], down)] == [
        "ok",
        "degraded",
        "degraded",
        "down",
    ]


def test_a_peer_without_tunnels_is_down_with_its_child_sas() -> None:
    without = replace(ARTICLE, tunnels=(), groups=())
    down = [Problem("child_sa_down", child.name, "") for child in ARTICLE.peers[0].children]
    assert [health.health(some, without) for some in ([], down[:1], down)] == ["ok", "degraded", "down"]
