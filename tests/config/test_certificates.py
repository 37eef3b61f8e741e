"""Certificates and keys from files, made by openssl."""

import subprocess
from pathlib import Path

import pytest

from mcastd.config.certificates import LONGEST, certificate, private_key
from mcastd.config.credentials import read_certificates
from mcastd.config.key_files import KeyFileError
from mcastd.config.load import load
from mcastd.errors import ConfigError

EXAMPLE = (Path(__file__).parents[2] / "etc" / "mcastd.toml").read_text()
KEY, CERT = "key.pem", "cert.pem"


def openssl(folder: Path, *arguments: str) -> bytes:
    return subprocess.run(("openssl", *arguments), cwd=folder, check=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a key, PKCS#8 in PEM, and its certificate."""
    folder = tmp_path_factory.mktemp("pair")
    new = ("-newkey", "rsa:2048", "-nodes", "-keyout", KEY, "-out", CERT)
    openssl(folder, "req", "-x509", *new, "-subj", "/CN=222.45.67.1", "-days", "2")
    return folder


def file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "file"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def refused(path: Path, *, key: bool) -> str:
    with pytest.raises(KeyFileError) as caught:
        private_key(path) if key else certificate(path)
    return str(caught.value)


def test_pem_and_der_are_the_same(pair: Path, tmp_path: Path) -> None:
    der = openssl(pair, "x509", "-in", CERT, "-outform", "der")
    assert certificate(pair / CERT).content == der == certificate(file(tmp_path, der)).content
    chatty = b"Bag Attributes\n" + (pair / CERT).read_bytes() + b"trailing words"
    assert certificate(file(tmp_path, chatty)).content == der


@pytest.mark.parametrize("form", ["pkcs8", "pkcs1", "der", "ec"])
def test_keys_of_every_form(form: str, pair: Path, tmp_path: Path) -> None:
    content = {
        "pkcs8": (pair / KEY).read_bytes(),
        "pkcs1": openssl(pair, "rsa", "-in", KEY, "-traditional"),
        "der": openssl(pair, "pkcs8", "-topk8", "-nocrypt", "-in", KEY, "-outform", "der"),
        "ec": openssl(pair, "ecparam", "-name", "prime256v1", "-genkey"),
    }[form]
    found = private_key(file(tmp_path, content))
    assert openssl(tmp_path, "pkey", "-in", "file", "-pubout") == openssl(
        file(tmp_path, found.content).parent, "pkey", "-inform", "der", "-in", "file", "-pubout"
    )


@pytest.mark.parametrize("form", ["pem", "traditional", "der"])
def test_an_encrypted_key_is_refused(form: str, pair: Path, tmp_path: Path) -> None:
    password = ("-passout", "pass:secret")
    content = {
        "pem": lambda: openssl(pair, "pkcs8", "-topk8", "-in", KEY, *password),
        "traditional": lambda: openssl(pair, "rsa", "-in", KEY, "-traditional", "-aes256", *password),
        "der": lambda: openssl(pair, "pkcs8", "-topk8", "-in", KEY, "-outform", "der", *password),
    }[form]()
    assert "is encrypted" in refused(file(tmp_path, content), key=True)


def test_a_key_is_no_certificate_and_a_certificate_is_no_key(pair: Path, tmp_path: Path) -> None:
    der = openssl(pair, "x509", "-in", CERT, "-outform", "der")
    assert "is no certificate" in refused(pair / KEY, key=False)
    assert "is no private key" in refused(file(tmp_path, (pair / CERT).read_bytes()), key=True)
    assert "is no private key" in refused(file(tmp_path, der), key=True)


@pytest.mark.parametrize("content", [b"", b"\x30", b"\x30\x80", b"\x30\x84\xff", b"text", b"\x30\x03\x30\x00"])
@pytest.mark.parametrize("key", [True, False])
def test_what_is_neither_is_refused(content: bytes, key: bool, tmp_path: Path) -> None:
    assert "is no " in refused(file(tmp_path, content), key=key)


def test_a_cut_off_file_is_refused(pair: Path, tmp_path: Path) -> None:
    der = openssl(pair, "x509", "-in", CERT, "-outform", "der")
    assert "is no certificate" in refused(file(tmp_path, der[:-1]), key=False)
    pem = (pair / CERT).read_bytes()
    assert "is no certificate" in refused(file(tmp_path, pem[:200] + pem[250:]), key=False)
    assert "is no certificate" in refused(file(tmp_path, b"\0" * (LONGEST + 10)), key=False)


def test_several_in_a_file_are_refused(pair: Path, tmp_path: Path) -> None:
    assert "has 2 certificates" in refused(file(tmp_path, 2 * (pair / CERT).read_bytes()), key=False)
    assert "has 2 private keys" in refused(file(tmp_path, 2 * (pair / KEY).read_bytes()), key=True)


def test_modes(pair: Path, tmp_path: Path) -> None:
    key, cert = (pair / KEY).read_bytes(), (pair / CERT).read_bytes()
    assert "accessible to all users (mode 0644)" in refused(file(tmp_path, key, 0o644), key=True)
    assert "read by its group" in (private_key(file(tmp_path, key, 0o640)).note or "")
    assert certificate(file(tmp_path, cert, 0o644)).content
    assert "writable by all users (mode 0646)" in refused(file(tmp_path, cert, 0o646), key=False)
    assert "cannot be read: No such file" in refused(tmp_path / "none", key=True)
    assert "Is a directory" in refused(tmp_path, key=False)


def certified(pair: Path, folder: Path, key: str = KEY, authority: str = CERT) -> Path:
    (folder / "mcastd.toml").write_text(
        EXAMPLE.replace(
            "psk_file =",
            f'local_cert = "{pair / CERT}"\nlocal_key = "{pair / key}"\nca_certs = ["{pair / authority}"]\n#',
        )
    )
    return folder / "mcastd.toml"


def test_a_file_with_certificates_is_read_whole(pair: Path, tmp_path: Path) -> None:
    (peer,) = load(certified(pair, tmp_path)).config.peers
    found = read_certificates(peer)
    assert found is not None
    assert found.authorities == (found.local,)
    assert found.remote is None
    assert repr(found.key) not in repr(found)


def test_what_is_wrong_with_them_is_said_by_line_and_key(pair: Path, tmp_path: Path) -> None:
    path = certified(pair, tmp_path, key="none", authority=KEY)
    with pytest.raises(ConfigError) as caught:
        load(path)
    line = EXAMPLE[: EXAMPLE.index("psk_file =")].count("\n") + 1
    assert [(problem.line, problem.key) for problem in caught.value.problems] == [
        (line + 1, "peers.dc-tun.local_key"),
        (line + 2, "peers.dc-tun.ca_certs[0]"),
    ]
    (peer,) = load(path, check_files=False).config.peers
    with pytest.raises(ConfigError, match="cannot be read"):
        read_certificates(peer)


def test_a_path_that_is_wrong_by_itself_is_not_read(pair: Path, tmp_path: Path) -> None:
    path = certified(pair, tmp_path)
    path.write_text(path.read_text().replace('ca_certs = ["', 'ca_certs = [5, "'))
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert [problem.key for problem in caught.value.problems] == ["peers.dc-tun.ca_certs[0]"]
