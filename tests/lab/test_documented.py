"""The commands that the docs show, run as they stand on the VM of the lab, and the receiver of docs/receiver.md."""

import re
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import pytest

from mcastd.lab import topology
from mcastd.lab.scene import Scene
from tests.docs.commands import ROOT, Command, shown
from tests.tools.feedlist.lists import CME

pytestmark = pytest.mark.root

# What the lab itself does with the daemon, what would take it down, and what needs two tunnels or an overlay
# (test_failover.py, test_gateways.py, test_overlay.py).
ELSEWHERE = {"run", "cleanup", "use", "receive"}
# Commands that go on, or take long as they stand: how this test ends them, or what it makes less.
SHORTER = {
    "listen": ("--seconds", "1"),
    "trace": ("--seconds", "1"),
    "bench": ("--packets", "500", "--within", "100"),
}
SIDE_BY_SIDE = 4  # pages: many commands wait rather than work
ARTICLE = ROOT / "tests" / "tools" / "importer" / "article.ipsec.conf"
SECRETS = '10.1.1.246 177.54.214.20 : PSK "a key of the docs"\n'


def test_each_command_does_what_it_is_for(running: Scene, tmp_path: Path) -> None:
    """The exit code 1 is for what is not well or has not arrived: the lab has one group of those in the docs."""
    pages: dict[str, list[Command]] = {}
    for one in {one.argv: one for one in shown()}.values():
        if one.argv[0] == "mcastd" and one.argv[1] not in ELSEWHERE:
            pages.setdefault(one.page, []).append(one)
    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        failed = [*chain(*threads.map(lambda commands: [*wrong(running, tmp_path, commands)], pages.values()))]
    assert not failed, "\n".join(failed)
    assert len(pages) > 8
    assert "239.1.1.2" in running.exec("cloud", ["mcastd", "status"]).stdout  # that of the README's join


def wrong(scene: Scene, folder: Path, commands: list[Command]) -> Iterator[str]:
    """What did not end as it must, of the commands of one page, one after the other."""
    folder /= commands[0].page
    folder.mkdir()
    shutil.copy(ARTICLE, folder / "ipsec.conf")
    (folder / "ipsec.secrets").write_text(SECRETS)
    (folder / "config.xml").write_text(CME.replace('channel id="10"', 'channel id="310"'))
    for one in commands:
        verb = one.argv[1]
        argv = [re.sub(r"^/(etc|etc/mcastd|tmp)/(?=[^/]+$)", f"{folder}/", word) for word in one.argv]
        argv = [f"{folder}/{word}" if word in ("mcastd.toml", "config.xml") else word for word in argv]
        argv = [word.replace("5000", str(topology.PORT)) for word in argv]
        if watches := "--watch" in argv:
            argv = ["timeout", "--signal", "INT", "2", sys.executable, "-m", *argv]
        if verb == "support" and "-o" not in argv:
            argv += ["-o", f"{folder}/support.tar.xz"]  # as it stands it writes into the working directory
        ended = scene.exec("cloud", [*argv, *SHORTER.get(verb, ())])
        allowed = {124} if watches else {0, 1} if verb in ("listen", "bench", "doctor") else {0}
        if ended.returncode not in allowed or "Traceback" in ended.stderr:
            yield f"{one.page}:{one.line}: {' '.join(argv)}: {ended.returncode} {ended.stdout}{ended.stderr}"


def test_the_receiver_receives(running: Scene, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "receiver.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "receiver.py").write_text(program)
    argv = ["python3", str(tmp_path / "receiver.py"), topology.GROUP, str(topology.PORT), "gre1"]
    ended = running.exec("cloud", ["timeout", "--signal", "INT", "2", *argv])
    assert re.search(r"^\d+ bytes from 100\.15\.30\.\d+:\d+$", ended.stdout, re.MULTILINE), ended.stderr
