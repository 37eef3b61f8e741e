from pathlib import Path

import pytest

from mcastd.errors import ConfigError
from mcastd.tools.importer.draft import Notes
from mcastd.tools.importer.files import drafts

CONN = "conn one\n\tleft=10.1.1.246\n\tright=177.54.214.20\n\tauthby=secret\n\tauto=start\n"


def test_an_ipsec_conf_goes_with_its_secrets_whatever_their_order(tmp_path: Path) -> None:
    conf, keys = tmp_path / "ipsec.conf", tmp_path / "ipsec.secrets"
    conf.write_text(CONN)
    keys.write_text('177.54.214.20 : PSK "the key"\n')
    for paths in ([conf, keys], [keys, conf]):
        (peer,) = drafts(paths, Notes())
        assert peer.psk == b"the key"


def test_included_files_are_read_and_those_that_cannot_be_are_noted(tmp_path: Path) -> None:
    (tmp_path / "ipsec.conf").write_text("config setup\n\tuniqueids=no\ninclude conf.d/*.conf\n")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/a.conf").write_text(CONN)
    (tmp_path / "conf.d/b.conf").mkdir()
    notes = Notes()
    (peer,) = drafts([tmp_path / "ipsec.conf"], notes)
    assert peer.name == "one"
    assert any("b.conf" in str(problem) for problem in notes.problems)


def test_peers_of_several_files_have_names_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "swanctl.conf").write_text("connections { one { remote_addrs = 177.54.214.21\n} }\n")
    (tmp_path / "ipsec.conf").write_text(CONN)
    found = drafts([tmp_path / "swanctl.conf", tmp_path / "ipsec.conf"], Notes())
    assert [peer.name for peer in found] == ["one", "one-2"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not recognised"),
        (b"interface gre1\n ip pim\n", "not recognised"),
        (b"\x00\xff\xfe", "not recognised"),
        (b"config setup\n\tuniqueids=no\n", "no connection"),
        (b"secrets {\n}\n", "no connection"),
    ],
)
def test_what_is_none_of_the_kinds_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        drafts([path], Notes())


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", Path("a\0b")):
        with pytest.raises(ConfigError):
            drafts([path], Notes())


def test_files_that_include_all_of_each_other_end(tmp_path: Path) -> None:
    (tmp_path / "ipsec.conf").write_text(f"{CONN}include *.conf\n")
    for number in range(9):
        (tmp_path / f"{number}.conf").write_text("include *.conf\n")
    with pytest.raises(ConfigError, match="too many files include one another"):
        drafts([tmp_path / "ipsec.conf"], Notes())
