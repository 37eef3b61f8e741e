from pathlib import Path

import pytest

from mcastd.cli import main

EXAMPLE = Path(__file__).parents[2] / "etc" / "mcastd.toml"


@pytest.mark.parametrize(
    ("arguments", "beginning"),
    [([], "# Parameters"), (["--format", "csv"], "Section,"), (["--format", "html"], "<!DOCTYPE html>")],
)
def test_it_prints_the_table_without_the_key_being_there(
    arguments: list[str], beginning: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not Path("/etc/mcastd/dc-tun.psk").exists()
    assert main(["params", "-c", str(EXAMPLE), *arguments]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(beginning)
    assert "10.44.7.1" in out
    assert err == ""


def test_a_refused_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["params", "-c", str(tmp_path / "none.toml")]) == 2
    assert "cannot be read" in capsys.readouterr().err
