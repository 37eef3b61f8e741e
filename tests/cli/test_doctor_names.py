"""mcastd doctor has the feeds beside the groups that it names, for people; its JSON has the groups alone."""

import json
from ipaddress import IPv4Network

import pytest

from mcastd.cli import doctor, main
from mcastd.config.model import Config, Feed
from mcastd.tools.doctor.facts import Facts
from mcastd.tools.doctor.finding import Finding, Side, Silent
from mcastd.tools.doctor.walk import Walk
from tests.tools.doctor.observed import GROUP

ENTRY = f"(*, {GROUP})"
FINDING = Finding(
    hop="delivery", problem="x", subject="gre1", groups=(ENTRY,), saw=f"9 packets of {GROUP}", means="m",
    change=f"show ip mroute {GROUP}", side=Side.HERE,
)  # fmt: skip
FOUND = Walk(
    healthy=False, well=(), findings=(FINDING,), silent=(Silent(subject="gre1", groups=(ENTRY,), saw="s", ask="a"),)
)


def test_the_feeds_are_beside_the_groups(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    feed = Feed(label="trades", groups=(IPv4Network(GROUP),))

    async def look(*_: object, **_options: object) -> Facts:
        return Facts(config_file="x.toml", privileged=True, config=Config(feeds=(feed,)))

    monkeypatch.setattr(doctor, "look", look)
    monkeypatch.setattr(doctor, "walk", lambda *_: FOUND)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert f"  groups: (*, {GROUP} (trades))\n  saw:    9 packets of {GROUP} (trades)\n" in out
    assert f"SILENT: gre1: (*, {GROUP} (trades))\n" in out
    assert f"show ip mroute {GROUP}\n" in out
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["groups"] == [ENTRY]
