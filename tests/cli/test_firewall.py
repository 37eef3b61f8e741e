"""``mcastd firewall``: what it prints, nft takes; it needs neither root nor a daemon."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcastd.cli import main
from mcastd.config.load import load
from mcastd.firewall import rules

ROOT = Path(__file__).parents[2]
ARTICLE = ROOT / "etc" / "mcastd.toml"


def test_it_prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["firewall", "-c", str(ARTICLE)]) == 0
    assert capsys.readouterr().out == rules.table(load(ARTICLE, check_files=False).config)


def test_without_a_rule_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mcastd.toml").write_text("")
    assert main(["firewall", "-c", str(tmp_path / "mcastd.toml")]) == 0
    assert capsys.readouterr().out == "# This configuration needs no rules.\n"


def test_a_wrong_file_is_refused_as_check_refuses_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mcastd.toml").write_text("[firewall]\nguard = 1\n")
    assert main(["firewall", "-c", str(tmp_path / "mcastd.toml")]) == 2
    assert "mcastd.toml:2: firewall.guard: " in capsys.readouterr().err


@pytest.mark.root
def test_nobody_may_run_it_and_nft_takes_what_it_prints() -> None:
    # As nobody, who could not change or even read the packet filter.
    code = f"import os, sys; os.setuid(65534); sys.argv = ['mcastd', 'firewall', '-c', {str(ARTICLE)!r}]\n"
    code += "from mcastd.cli import main\nsys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    subprocess.run(["unshare", "--net", "nft", "-c", "-f", "-"], input=printed.stdout, text=True, check=True)
