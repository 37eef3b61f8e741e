"""A changed file: refused whole, applied, or accepted and not applied everywhere in time."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from mcastd.composition import Composition
from mcastd.config.load import load
from mcastd.config.model import Config
from mcastd.errors import ConfigError, McastdError
from mcastd.ipsec.messages import PeerWithKey
from mcastd.ipsec.state import IpsecSnapshot
from mcastd.reload import Reload
from tests.fakes.memory import MemoryLog

TUNNEL = """
[daemon]
runtime_dir = "{directory}"
[tunnels.gre1]
local = "10.44.6.1"
remote = "10.44.7.1"
address = "10.44.4.6/30"
"""


@dataclass
class FakeIpsec:
    """What a reload asks of the IPsec agent."""

    notes: tuple[str, ...] = ()

    def status(self, _now: float) -> IpsecSnapshot:
        return IpsecSnapshot((), None, self.notes)


@dataclass
class FakeAgents:
    """What a reload needs of the composition; ``fails`` is what applying a configuration ends with."""

    config: Config
    fails: Exception | None = None
    applied: list[Config] = field(default_factory=list)
    ipsec: FakeIpsec = field(default_factory=FakeIpsec)

    async def apply(self, config: Config, _peers: tuple[PeerWithKey, ...]) -> None:
        if self.fails is not None:
            raise self.fails
        self.applied.append(config)


class Bench:
    """A file, the reload of it, and the log."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "mcastd.toml"
        self.directory = folder
        self.write(TUNNEL)
        self.log = MemoryLog()
        loaded = load(self.file)
        self.agents = FakeAgents(loaded.config)
        self.reload = Reload(self.file, loaded, cast("Composition", self.agents), self.log.logger)

    def write(self, text: str) -> None:
        self.file.write_text(text.format(directory=self.directory))

    def run(self, act: Callable[[], Any]) -> Any:
        async def main() -> Any:
            return await act()

        return asyncio.run(main())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_changed_file_is_applied(bench: Bench) -> None:
    bench.write(TUNNEL.replace("gre1", "gre2"))
    bench.agents.ipsec.notes = ("a lifetime is for later SAs",)
    text = bench.run(bench.reload.reload)
    assert text.startswith(f"reloaded {bench.file} in ")
    assert text.endswith("\nnote: a lifetime is for later SAs")
    assert [config.tunnels[0].name for config in bench.agents.applied] == ["gre2"]
    assert bench.reload.loaded.config == bench.agents.applied[0]
    assert bench.log.events()[-2:] == ["reloaded", "configuration_note"]


def test_a_refused_file_changes_nothing_and_each_error_is_logged(bench: Bench) -> None:
    before = bench.reload.loaded
    bench.write(TUNNEL.replace("10.44.6.1", "x").replace("10.44.7.1", "y"))
    with pytest.raises(ConfigError):
        bench.run(bench.reload.reload)
    bench.run(bench.reload.on_hangup)
    assert bench.log.events() == ["reload_refused", "reload_refused"]
    assert bench.agents.applied == []
    assert bench.reload.loaded is before


def test_a_changed_list_that_the_file_includes_is_read_as_well(bench: Bench) -> None:
    bench.write('include = ["list.toml"]\n' + TUNNEL)
    (bench.directory / "list.toml").write_text('[[groups]]\ngroup = "239.1.1.0/30"\nsources = ["10.0.0.1"]\n')
    bench.run(bench.reload.on_hangup)
    assert [len(config.groups) for config in bench.agents.applied] == [4]
    (bench.directory / "list.toml").write_text("[[groups]]\n")
    bench.run(bench.reload.on_hangup)
    assert len(bench.agents.applied) == 1
    assert "list.toml:1: groups[0].group: it is missing from [groups[0]]" in str(bench.log.records)


def test_what_a_running_daemon_cannot_change_is_refused(bench: Bench) -> None:
    bench.write(TUNNEL.replace("{directory}", "/elsewhere"))
    with pytest.raises(ConfigError, match=r"daemon\.runtime_dir: is .* while the daemon runs; restart it to change"):
        bench.run(bench.reload.reload)
    assert bench.agents.applied == []


def test_a_file_that_is_not_applied_in_time_is_in_effect_and_not_called_refused(bench: Bench) -> None:
    bench.write(TUNNEL.replace("gre1", "gre2"))
    bench.agents.fails = TimeoutError()
    with pytest.raises(McastdError, match=r"is in effect, but after 10 s it is not applied everywhere"):
        bench.run(bench.reload.reload)
    bench.run(bench.reload.on_hangup)
    assert [event for event in bench.log.events() if event != "configuration_note"] == ["reload_incomplete"]
    assert "keeps trying" in bench.log.records[-1]["problem"]
    assert bench.reload.loaded.config.tunnels[0].name == "gre2"
