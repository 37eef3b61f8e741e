"""What the two sides did not agree on is said in words, within seconds."""

from collections.abc import Iterator

import pytest

from mcastd.lab.commands import wait_for
from mcastd.lab.scene import Scene
from mcastd.lab.topology import GROUP
from mcastd.status import Status
from tests.lab.datapath import assert_datapath

pytestmark = pytest.mark.root


def problems(status: Status) -> Iterator[str]:
    for peer in status.peers:
        for problem in (peer.problem, *(child.problem for child in peer.children)):
            if problem:
                yield problem


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"psk": "not what was agreed on"}, "the PSK or an identity differs"),
        ({"ike_proposal": "aes128-sha256-modp3072"}, "does not accept our IKE proposal"),
        ({"esp_proposal": "aes128-sha1"}, "does not accept our ESP proposal of dc-tun-gre"),
        ({"gre_remote_ts": "10.44.6.2/32"}, "has no child with our traffic selectors: 10.44.6.1/32 (here)"),
    ],
    ids=["psk", "ike proposal", "esp proposal", "selectors"],
)
def test_the_status_says_what_differs_and_recovers_when_it_is_put_right(
    scene: Scene, change: dict[str, str], words: str
) -> None:
    scene.dc.load(**change)
    scene.start_daemon()
    status = scene.wait_for_status(words, lambda status: any(words in problem for problem in problems(status)))
    assert not status.healthy
    assert "not what was agreed on" not in str(status)
    assert scene.exec("cloud", ["mcastd", "status"]).returncode == 1
    assert scene.feed.received()[GROUP].received == 0
    scene.dc.load()
    wait_for("the feed", lambda: scene.feed.received()[GROUP].received > 100, 30.0)
    scene.wait_for_status("no problem is left", lambda status: not list(problems(status)))
    assert_datapath(scene)


def test_no_answer_is_said_to_be_none(scene: Scene) -> None:
    scene.block(500, 4500)
    scene.start_daemon()
    words = "no answer from 177.54.214.20 on UDP 500/4500"
    status = scene.wait_for_status(words, lambda status: any(words in problem for problem in problems(status)))
    assert not status.healthy
    scene.block()
    wait_for("the feed", lambda: scene.feed.received()[GROUP].received > 100, 30.0)
    assert_datapath(scene)


def test_the_daemon_that_does_not_run_is_said_not_to_answer(scene: Scene) -> None:
    answer = scene.exec("cloud", ["mcastd", "status"])
    assert answer.returncode == 3
    assert "no mcastd answers" in answer.stderr
