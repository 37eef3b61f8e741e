"""``mcastd status --group`` of a group that an application, a machine behind the VM, the file and a command want."""

from collections.abc import Iterator

import msgspec
import pytest

from mcastd.group_status import GroupReport
from mcastd.lab.commands import wait_for
from mcastd.lab.nodes import Options
from mcastd.lab.scene import Scene
from mcastd.lab.topology import CLIENT, CLOUD, GROUP, HOST_V2, SOURCE_ADDRESS, TUNNEL
from tests.lab.pim_scene import as_new, mcastd

pytestmark = pytest.mark.root

FORWARD = '\n[forward.eth1]\nquery_interval = "1s"\nquery_response_interval = "500ms"\n'


@pytest.fixture(scope="module")
def standing_scene() -> Iterator[Scene]:
    options = Options(prefix="mcastd-test-group", keepalive_period=120.0, follow=True, lan=(HOST_V2,))
    with Scene(options) as scene:
        yield scene


def report(scene: Scene) -> GroupReport:
    answer = scene.exec(CLOUD, ["mcastd", "status", "--group", GROUP, "--json"])
    return msgspec.json.decode(answer.stdout, type=GroupReport)


def test_a_group_says_who_wants_it_who_gets_it_and_what_arrives(standing_scene: Scene) -> None:
    with as_new(standing_scene) as scene:
        scene.config.write_text(scene.config.read_text() + FORWARD)
        scene.start_daemon()
        scene.wait_for_status("forwarding", lambda status: [one.state for one in status.forward] == ["forwarding"])
        scene.feed.receive(GROUP, node=CLIENT, interface="eth0")
        mcastd(scene, "join", GROUP)
        wait_for("the feed behind", lambda: scene.feed.received(CLIENT)[GROUP].received > 100)
        wait_for("the application", lambda: len(report(scene).origins) == 4)
        found = report(scene)
        assert {one.origin for one in found.origins} == {"file", "command", "application", "eth1"}
        assert {(one.kind, one.interface) for one in found.receivers} == {("application", TUNNEL), ("host", "eth1")}
        (join,) = found.joins
        assert (join.state, join.tunnel, join.forwarded_to) == ("joined", TUNNEL, ("eth1",))
        wait_for("the stream", lambda: [one.state for one in report(scene).streams] == ["arriving"])
        assert report(scene).streams[0].source == SOURCE_ADDRESS
        scene.feed.stop_receiving()
        wait_for("nobody", lambda: {one.origin for one in report(scene).origins} == {"file", "command"}, 20.0)
        assert report(scene).receivers == ()
        text = scene.exec(CLOUD, ["mcastd", "status", "--group", GROUP]).stdout
        assert "mcastd join for" in text
        assert f"(*, {GROUP}) on {TUNNEL}: joined for" in text
