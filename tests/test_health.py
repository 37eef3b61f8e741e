from mcastd import health
from mcastd.problems import Problem

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
