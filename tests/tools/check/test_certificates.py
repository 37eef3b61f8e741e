"""Certificates whose identity, dates, key or issuer cannot work, made here."""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

import mcastd.tools.check
from mcastd.config.load import loads
from mcastd.errors import ConfigError
from mcastd.tools.check import check
from mcastd.tools.check.facts import Facts
from mcastd.tools.check.identities import Names

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
KEYS = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
FILE = """
[peers.dc]
local = "10.1.1.246"
remote = "177.54.214.20"
local_id = "{local_id}"
remote_id = "{remote_id}"
local_cert = "{local_cert}"
local_key = "{local_key}"
ca_certs = [{ca_certs}]
{more}
proposals = ["aes256-sha256-modp2048"]
[peers.dc.children.gre]
local_ts = "10.44.6.1/32"
remote_ts = "10.44.7.1/32"
proposals = ["aes256gcm16"]
"""
USUAL = {"local_id": "222.45.67.1", "remote_id": "177.54.214.20", "local_cert": "vm.pem", "local_key": "vm.key",
         "ca_certs": '"root.pem"', "more": ""}  # fmt: skip


class Made(NamedTuple):
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def made(
    name: str, key: int, issuer: Made | None = None, *, others: tuple[x509.GeneralName, ...] = (), ca: bool = False,
    begins: datetime = NOW - 10 * DAY, ends: datetime = NOW + 300 * DAY,
) -> Made:  # fmt: skip
    subject = x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "CH"), x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(KEYS[key].public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins.replace(tzinfo=None))
        .not_valid_after(ends.replace(tzinfo=None))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if others:
        builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
    return Made(builder.sign((issuer.key if issuer else KEYS[key]), hashes.SHA256()), KEYS[key])


ADDRESS = x509.IPAddress(ip_address("222.45.67.1"))
ROOT = made("Root", 0, ca=True)
INTERMEDIATE = made("Intermediate", 1, ROOT, ca=True)
MADE: Mapping[str, Made] = {
    "root": ROOT,
    "between": INTERMEDIATE,
    "vm": made("vm", 2, ROOT, others=(ADDRESS, x509.DNSName("vm.example.com"), x509.RFC822Name("ops@example.com"))),
    "plain": made("222.45.67.1", 2, ROOT),
    "old": made("vm", 2, ROOT, others=(ADDRESS,), begins=NOW - 20 * DAY, ends=NOW - DAY),
    "future": made("vm", 2, ROOT, others=(ADDRESS,), begins=NOW + DAY),
    "soon": made("vm", 2, ROOT, others=(ADDRESS,), ends=NOW + 12 * DAY),
    "theirs": made("gw", 1, ROOT, others=(x509.IPAddress(ip_address("177.54.214.20")),)),
    "oldroot": made("Root", 0, ca=True, begins=NOW - 20 * DAY, ends=NOW - DAY),
    "impostor": made("Root", 2, ca=True),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("certificates")
    for name, one in MADE.items():
        (found / f"{name}.pem").write_bytes(one.certificate.public_bytes(Encoding.PEM))
        key = one.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (found / f"{name}.key").touch(0o600)
        (found / f"{name}.key").write_bytes(key)
    return found


def said(folder: Path, **values: str) -> tuple[list[str], list[str]]:
    """What is refused and what is noted, each as ``KEY: TEXT``."""
    text = FILE.format_map({**USUAL, **values})
    try:
        loaded = loads(text, folder / "m.toml", further=lambda config, report: check(config, Facts(now=NOW), report))
    except ConfigError as error:
        return [f"{one.key}: {one.text}" for one in error.problems], []
    return [], [f"{one.key}: {one.text}" for one in loaded.notes if one.key != "daemon.strongswan_conf"]


IDENTITIES = (
    *("222.45.67.1", "vm.example.com", "VM.example.com", "@vm.example.com", "dns:vm.example.com", "ops@example.com"),
    *("C=CH, CN=vm", "c=ch,cn=VM", "/C=CH/CN=vm", "%any"),
)


@pytest.mark.parametrize("identity", IDENTITIES)
def test_what_fits_together_is_accepted(identity: str, folder: Path) -> None:
    refused, noted = said(folder, local_id=identity)
    assert refused == []
    assert all("%any" in one for one in noted)


@pytest.mark.parametrize(
    ("values", "key", "text"),
    [
        (
            {"local_id": "222.45.67.2"},
            "local_id",
            '"222.45.67.2" is not in local_cert, which is for "222.45.67.1", "vm.ex',
        ),
        (
            {"local_id": "gw.example.com"},
            "local_id",
            '"C=CH, CN=vm"; allowed: one of these, or a certificate for gw.exa',
        ),
        ({"local_id": "CN=vm"}, "local_id", "is not in local_cert"),
        ({"local_cert": "plain.pem"}, "local_id", "a common name does not count"),
        (
            {"local_key": "between.key"},
            "local_key",
            'key of another certificate; allowed: the key of "C=CH, CN=vm"',
        ),
        ({"local_cert": "old.pem"}, "local_cert", "it expired on 2026-05-31 12:00 UTC; allowed: "),
        (
            {"local_cert": "future.pem"},
            "local_cert",
            "it is not valid before 2026-06-02 12:00 UTC, and it is 2026-06-01",
        ),
        ({"ca_certs": '"oldroot.pem"'}, "ca_certs[0]", "it expired on 2026-05-31"),
        ({"ca_certs": '"between.pem"'}, "ca_certs[0]", 'whose issuer, "C=CH, CN=Root", is not in ca_certs'),
        ({"ca_certs": '"between.pem", "impostor.pem"'}, "ca_certs[0]", "is not in ca_certs: charon trusts roots alone"),
        ({"ca_certs": '"root.pem", "theirs.pem"'}, "ca_certs[1]", '"C=CH, CN=gw" is no CA'),
        ({"more": 'remote_cert = "vm.pem"', "remote_id": "222.45.67.1"}, "remote_cert", "the same as local_cert"),
        (
            {"more": 'remote_cert = "theirs.pem"', "remote_id": "10.0.0.1"},
            "remote_id",
            "is not in remote_cert, which is for",
        ),
    ],
)
def test_what_cannot_work_is_refused(values: Mapping[str, str], key: str, text: str, folder: Path) -> None:
    refused, _ = said(folder, **values)
    (one,) = (one for one in refused if one.startswith(f"peers.dc.{key}: "))
    assert text in one
    assert all("; allowed: " in one for one in refused)


def test_a_chain_that_is_complete_is_accepted(folder: Path) -> None:
    assert said(folder, ca_certs='"between.pem", "root.pem"') == ([], [])
    assert said(folder, more='remote_cert = "theirs.pem"') == ([], [])


def test_what_expires_soon_is_noted(folder: Path) -> None:
    assert said(folder, local_cert="soon.pem") == (
        [], ["peers.dc.local_cert: it expires on 2026-06-13 12:00 UTC, in 12 days"]
    )  # fmt: skip


@pytest.mark.parametrize("identity", ["%any", "@#0a0b", "vm*.example.com", "keyid:00", "CN=a\\,b, XX=c"])
def test_other_kinds_of_identities_are_not_judged(identity: str) -> None:
    assert Names((("CN", "vm"),)).has(identity) is None


def test_without_the_library_it_is_noted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(mcastd.tools.check, "certificates", raising=False)
    monkeypatch.setitem(sys.modules, "mcastd.tools.check.certificates", None)
    assert said(folder) == ([], ["peers.dc.local_cert: the certificates are not looked into: "
                                 "python3-cryptography is not installed"])  # fmt: skip
