from pathlib import Path
from textwrap import dedent

from mcastd.config.load import load

README = Path(__file__).parents[1] / "README.md"


def test_the_readmes_configuration_is_valid_as_it_stands(tmp_path: Path) -> None:
    section = README.read_text().split("## Configuration\n")[1]
    block = section[section.index("    [peers") : section.index("`etc/mcastd.toml`")]
    file = tmp_path / "mcastd.toml"
    file.write_text(dedent(block))
    psk = tmp_path / "dc-tun.psk"
    psk.write_text("a key\n")
    psk.chmod(0o600)
    config = load(file).config
    assert [tunnel.name for tunnel in config.tunnels] == ["gre1"]
    assert [str(group.group) for group in config.groups] == ["239.1.1.1"]
