"""What charon itself has to be told, by the settings that are shipped and by those that a host has."""

from pathlib import Path

import msgspec
import pytest

from mcastd.config.charon_settings import given_up_after, notes
from mcastd.config.load import load
from mcastd.config.model import Config, Daemon
from mcastd.config.strongswan_conf import charon_setting, parse, truth
from mcastd.config.strongswan_conf import load as load_settings

ROOT = Path(__file__).parents[2]
DROP_IN = ROOT / "packaging" / "strongswan.d" / "mcastd.conf"


def config(settings: str, folder: Path, **changes: object) -> Config:
    """The example, with a strongswan.conf of its own and fields of its peer changed."""
    (folder / "strongswan.conf").write_text(settings)
    example = load(ROOT / "etc" / "mcastd.toml", check_files=False).config
    peers = tuple(msgspec.structs.replace(peer, **changes) for peer in example.peers)
    daemon = Daemon(strongswan_conf=folder / "strongswan.conf")
    return msgspec.structs.replace(example, daemon=daemon, peers=peers)


def test_the_drop_in_does_what_it_says() -> None:
    settings = load_settings(DROP_IN)
    assert truth(charon_setting(settings, "make_before_break"))
    assert 25 < given_up_after(settings) < 35
    assert f"= {given_up_after(settings):.0f} s" in DROP_IN.read_text()


def test_with_the_drop_in_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert notes(config(f"charon {{ }}\ninclude {DROP_IN}", tmp_path, reauthentication=True)) == ()


def test_without_it_what_that_costs_is_said(tmp_path: Path) -> None:
    before_break, dead = notes(config("charon { }", tmp_path, reauthentication=True))
    assert "before strongSwan 6.0, each reauthentication of dc-tun loses packets" in before_break
    assert "gives up a dead peer only after 165 s" in dead
    assert all("/etc/strongswan.d/mcastd.conf" in note for note in (before_break, dead))


def test_switched_off_it_loses_packets_with_every_version(tmp_path: Path) -> None:
    before_break, _ = notes(config("charon { make_before_break = no }", tmp_path, reauthentication=True))
    assert "includes: each reauthentication of dc-tun loses packets" in before_break


@pytest.mark.parametrize("changes", [{}, {"version": 1, "reauthentication": True}])
def test_where_nothing_is_reauthenticated_by_ikev2_its_order_does_not_matter(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    (dead,) = notes(config("charon { }", tmp_path, **changes))
    assert "165 s" in dead


def test_settings_that_cannot_be_read_are_said_to_be_unknown(tmp_path: Path) -> None:
    (broken,) = notes(config("charon {", tmp_path))
    assert "not known" in broken
    assert "strongswan.conf:1: the section is not closed" in broken
    assert notes(msgspec.structs.replace(config("charon {", tmp_path), peers=())) == ()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 165.1),
        ("retransmit_tries = 0", 4.0),
        ("retransmit_base = nonsense", 165.1),
        ("retransmit_base = 1\nretransmit_timeout = 2\nretransmit_tries = 9", 20.0),
    ],
)
def test_when_a_dead_peer_is_given_up(text: str, seconds: float) -> None:
    assert given_up_after(parse(f"charon {{ {text}\n }}")) == pytest.approx(seconds, abs=0.1)
