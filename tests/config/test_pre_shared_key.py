import os
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from mcastd.config.credentials import read_psk
from mcastd.config.key_files import KeyFileError
from mcastd.config.load import load
from mcastd.config.model import Peer
from mcastd.config.pre_shared_key import LONGEST, PskEncoding, pre_shared_key
from mcastd.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "etc" / "mcastd.toml"
SECRET = b"correct horse battery staple"


def peer(file: Path) -> Peer:
    return Peer(
        name="dc-tun",
        local=IPv4Address("10.1.1.246"),
        remote=IPv4Address("177.54.214.20"),
        local_id="222.45.67.1",
        remote_id="177.54.214.20",
        psk_file=file,
        proposals=("aes256-sha256-modp2048",),
    )


def key_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "dc-tun.psk"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_one_newline_at_the_end_is_cut_off(end: bytes, tmp_path: Path) -> None:
    assert read_psk(peer(key_file(tmp_path, SECRET + end))) == SECRET


def test_the_longest_key_is_read_whole(tmp_path: Path) -> None:
    assert read_psk(peer(key_file(tmp_path, b"x" * LONGEST + b"\r\n"))) == b"x" * LONGEST


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (b"", 0o600, "is empty"),
        (b"\n", 0o600, "is empty"),
        (b"x" * LONGEST + b"y", 0o600, "is too long"),
        (SECRET + b"\n" + SECRET, 0o600, "has several lines"),
        (SECRET + b"\0", 0o600, "is binary"),
        (SECRET, 0o604, "accessible to all users"),
        (SECRET, 0o602, "accessible to all users"),
    ],
)
def test_what_is_refused_never_shows_the_key(content: bytes, mode: int, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_psk(peer(key_file(tmp_path, content, mode)))
    (problem,) = caught.value.problems
    assert problem.key == "peers.dc-tun.psk_file"
    assert said in problem.text
    assert SECRET.decode() not in repr(caught.value) + str(caught.value)


def test_a_missing_file_a_folder_and_a_pipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_psk(peer(tmp_path / "none"))
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_psk(peer(tmp_path))
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ConfigError, match="not a regular file"):
        read_psk(peer(tmp_path / "pipe"))


def test_a_file_for_its_group_is_worth_a_note(tmp_path: Path) -> None:
    found = pre_shared_key(key_file(tmp_path, SECRET, 0o640))
    assert "by its group" in (found.note or "")
    assert SECRET.decode() not in repr(found)


def test_a_relative_file_is_beside_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    key_file(folder, SECRET)
    (folder / "mcastd.toml").write_text(EXAMPLE.read_text().replace("/etc/mcastd/dc-tun.psk", "dc-tun.psk"))
    monkeypatch.chdir(tmp_path)
    (found,) = load(Path("etc/mcastd.toml")).config.peers
    assert found.psk_file == folder / "dc-tun.psk"
    assert read_psk(found) == SECRET


def test_load_says_at_which_line_the_key_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mcastd.toml"
    path.write_text(EXAMPLE.read_text().replace("/etc/mcastd/dc-tun.psk", "none"))
    with pytest.raises(ConfigError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert "psk_file" in path.read_text().split("\n")[problem.line - 1]
    assert problem.key == "peers.dc-tun.psk_file"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'"correct horse"', "the quotes around the key are a part of it here"),
        (b"'correct horse'", "the quotes around the key are a part of it here"),
        (b"0x636f7272656374", "it begins with 0x"),
        (b"0sY29ycmVjdA==", "it begins with 0s"),
        (b" correct horse", "the blanks at the ends of the key are a part of it here"),
        (b"correct horse\t\n", "the blanks at the ends of the key are a part of it here"),
        ("горбатая лошадь".encode(), "bytes that are not ASCII"),
        (b"\xef\xbb\xbfcorrect", "bytes that are not ASCII"),
        (b'222.45.67.1 177.54.214.20 : PSK "correct horse"', "a line of ipsec.secrets"),
        (b"correct horse", None),
        (b'"', None),
        (b"it's", None),
    ],
)
def test_what_was_hardly_meant_so_is_noted_and_taken_as_it_stands(
    content: bytes, said: str | None, tmp_path: Path
) -> None:
    path = key_file(tmp_path, content)
    found = pre_shared_key(path)
    assert found.content == content.removesuffix(b"\n")
    assert (found.note is None) == (said is None)
    assert said is None or f"{path}: " in (found.note or "")
    assert said is None or said in (found.note or "")
    assert "correct" not in (found.note or "").lower().replace(str(path), "")


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("base64", b"YQBiCg=="),
        ("base64", b"0sYQBi\nCg==\n"),
        ("hex", b"6100620a\n"),
        ("hex", b"0x61 00 62 0A"),
    ],
)
def test_an_encoded_key_may_have_any_byte(encoding: PskEncoding, written: bytes, tmp_path: Path) -> None:
    assert pre_shared_key(key_file(tmp_path, written), encoding).content == b"a\0b\n"


@pytest.mark.parametrize(
    ("encoding", "written", "said"),
    [
        ("base64", b"correct horse!", "is not base64; allowed: the key in base64"),
        ("base64", b"YQBiC", "is not base64"),
        ("hex", b"616", "is not hex"),
        ("hex", b"\n", "has 0 bytes in hex; allowed: a key of 1 to 1024 bytes"),
        ("hex", b"61" * 1025, "has 1025 bytes in hex"),
    ],
)
def test_what_is_not_an_encoded_key(encoding: PskEncoding, written: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(KeyFileError) as caught:
        pre_shared_key(key_file(tmp_path, written), encoding)
    assert said in str(caught.value)
    assert written.strip() not in str(caught.value).encode() or not written.strip()
