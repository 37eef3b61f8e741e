import re
import tomllib
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mcastd.config.load import load
from mcastd.errors import ConfigProblem
from mcastd.tools.importer.draft import ChildDraft, Keys, Missing, PeerDraft
from mcastd.tools.importer.write import toml

KEYS: Keys = {
    "local": "10.1.1.246",
    "remote": "177.54.214.20",
    "local_id": "222.45.67.1",
    "remote_id": "177.54.214.20",
    "psk_file": "dc.psk",
    "proposals": ("aes256-sha256-modp2048",),
}
CHILD = ChildDraft("gre", {"local_ts": "10.8.6.1/32", "remote_ts": "10.8.7.1/32", "proposals": ("aes256-sha256",)})


def filled_in(text: str) -> str:
    return re.sub(r"^#\? ?", "", text, flags=re.MULTILINE)


def test_what_is_to_be_filled_in_is_valid_once_it_is(tmp_path: Path) -> None:
    peer = PeerDraft("dc", {**KEYS, "local": Missing("10.1.1.246", "it is %any")}, [CHILD], b"the key")
    text = toml([peer], [])
    assert "local" not in tomllib.loads(text)["peers"]["dc"]
    assert "the key" not in text
    file = tmp_path / "mcastd.toml"
    file.write_text(filled_in(text))
    config = load(file, check_files=False).config
    assert str(config.peers[0].local) == "10.1.1.246"
    assert (config.tunnels[0].child, str(config.tunnels[0].remote)) == ("gre", "10.8.7.1")
    assert str(config.groups[0].group) == "239.1.1.1"


def test_the_tunnel_is_offered_to_the_child_that_carries_hosts() -> None:
    network = ChildDraft(
        "tcp", {"local_ts": "10.0.0.0/24", "remote_ts": "10.2.0.0/16", "proposals": ("aes256-sha256",)}
    )
    assert '#? child = "gre"' in toml([PeerDraft("dc", dict(KEYS), [network, CHILD])], [])
    assert '#? child = "tcp"' in toml([PeerDraft("dc", dict(KEYS), [network])], [])
    transport = ChildDraft("gre", {"mode": "transport", "proposals": ("aes256-sha256",)})
    assert '#? remote = "177.54.214.20"' in toml([PeerDraft("dc", dict(KEYS), [transport])], [])


def test_what_was_left_out_is_in_comments() -> None:
    text = toml([], [ConfigProblem("ipsec.conf", 3, "mark", "it is\nnot\x07carried over")])
    assert "\n#   ipsec.conf:3: mark: it is not carried over\n" in text


@settings(max_examples=300, deadline=None)
@given(st.text(), st.text(), st.text(min_size=1))
def test_any_text_is_valid_toml_and_read_back(identity: str, why: str, name: str) -> None:
    keys: Keys = {**KEYS, "local_id": identity, "remote": Missing(identity, why)}
    text = toml([PeerDraft(name, keys, [CHILD])], [ConfigProblem(why, 1, why, why)])
    assert tomllib.loads(text)["peers"][name]["local_id"] == identity
    assert tomllib.loads(filled_in(text))["peers"][name]["remote"] == identity
