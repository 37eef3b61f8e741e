"""``[metrics]``: where metrics are served, and which streams have series."""

from pathlib import Path

import pytest

from mcastd.config.load import Loaded, loads
from mcastd.errors import ConfigError
from mcastd.metrics.shown import shown

TEXT = (Path(__file__).parents[2] / "etc" / "mcastd.toml").read_text()


def loaded(lines: str) -> Loaded:
    return loads(TEXT.replace("[metrics]", f"[metrics]\n{lines}\n#"), Path("mcastd.toml"), check_files=False)


def test_without_an_address_there_are_none() -> None:
    assert loaded("").config.metrics.listen is None


@pytest.mark.parametrize("address", ["127.0.0.1:9464", "127.0.0.2:1", "10.1.1.246:65535", "0.0.0.0:9464"])
def test_an_address_is_read_and_one_that_others_reach_is_a_note(address: str) -> None:
    found = loaded(f'listen = "{address}"')
    assert str(found.config.metrics.listen) == address
    notes = [note.text for note in found.notes if note.key == "metrics.listen"]
    assert bool(notes) != address.startswith("127.")
    assert all(text.startswith(f"other hosts that reach {address} can read all metrics") for text in notes)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('"127.0.0.1"', "has no port from 1 to 65535"),
        ('"127.0.0.1:0"', "has no port from 1 to 65535"),
        ('"127.0.0.1:65536"', "has no port from 1 to 65535"),
        (f'"127.0.0.1:{"9" * 5000}"', "has no port from 1 to 65535"),
        ('"localhost:9464"', "is not an IPv4 address"),
        ('"[::1]:9464"', "has no port"),
        ("9464", "it is an integer"),
    ],
)
def test_what_is_no_address_and_port_is_refused(value: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        loaded(f"listen = {value}")


def test_the_groups_that_the_file_names_have_series() -> None:
    feeds = '\n[[feeds]]\nname = "a"\ngroups = ["239.7.0.1", "239.8.0.0/16"]\n'
    config = loads(TEXT + feeds, Path("mcastd.toml"), check_files=False).config
    assert shown(config).named == {"239.1.1.1", "239.7.0.1"}
