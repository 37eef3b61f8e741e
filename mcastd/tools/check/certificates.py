"""Rules about certificates: whose they are, until when, by whom issued, and which key is theirs.

charon trusts self-signed CAs alone: an intermediate one in ``ca_certs`` leads nowhere without those above it.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key

from mcastd.config.credentials import Certificates, read_certificates
from mcastd.config.line_numbers import KeyPath
from mcastd.config.model import Config, Peer
from mcastd.config.report import Report, Table, shown
from mcastd.errors import ConfigError
from mcastd.tools.check.identities import Kind, Names, Rdn, spelled

_SOON: Final = timedelta(days=30)
_SMALLEST_RSA: Final = 2048
_SHORT: Final = {"commonName": "CN", "countryName": "C", "organizationName": "O", "organizationalUnitName": "OU",
                 "stateOrProvinceName": "ST", "localityName": "L", "domainComponent": "DC", "userID": "UID",
                 "streetAddress": "STREET"}  # fmt: skip


def check(config: Config, now: datetime, report: Report) -> None:
    """Apply every rule to every peer with certificates; a file that cannot be used is reported elsewhere."""
    for peer in config.peers:
        at = report.table("peers", peer.name)
        try:
            found = read_certificates(peer)
        except ConfigError:
            continue
        if found is not None:
            _peer(peer, found, now, at)


def _peer(peer: Peer, found: Certificates, now: datetime, at: Table) -> None:
    local = _parsed(found.local, ("local_cert",), at)
    remote = None if found.remote is None else _parsed(found.remote, ("remote_cert",), at)
    keys: list[KeyPath] = [("ca_certs", index) for index in range(len(found.authorities))]
    authorities = [_parsed(der, key, at) for der, key in zip(found.authorities, keys, strict=True)]
    for key, one in ((("local_cert",), local), (("remote_cert",), remote), *zip(keys, authorities, strict=True)):
        if one is not None:
            _is_valid_now(one, key, now, at)
    if local is not None:
        _is_its_key(local, found.key, at)
    for side, one in (("local", local), ("remote", remote)):
        if one is not None:
            _has_identity(one, f"{side}_cert", f"{side}_id", getattr(peer, f"{side}_id"), at)
    if local is not None and local == remote:
        at.refuse("remote_cert", "it is the same as local_cert; allowed: the other side's certificate", "local_cert")
    for key, one in zip(keys, authorities, strict=True):
        if one is not None:
            _is_authority(one, key, [other for other in authorities if other is not None], at)


def _parsed(der: bytes, key: KeyPath, at: Table) -> x509.Certificate | None:
    try:
        found = x509.load_der_x509_certificate(der)
        found.public_key()
        found.extensions  # noqa: B018 - parsed when it is asked for
        found.subject, found.issuer  # noqa: B018
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        at.note(key, f"the certificate is not looked into: {error}")
        return None
    return found


def _is_valid_now(one: x509.Certificate, key: KeyPath, now: datetime, at: Table) -> None:
    begins, ends = _validity(one)
    if now > ends:
        at.refuse(key, f"it expired on {ends:%Y-%m-%d %H:%M} UTC; allowed: a certificate that is valid now")
    elif now < begins:
        text = f"it is not valid before {begins:%Y-%m-%d %H:%M} UTC, and it is {now:%Y-%m-%d %H:%M}"
        at.refuse(key, f"{text}; allowed: a certificate that is valid now, or set the clock")
    elif ends - now < _SOON:
        at.note(key, f"it expires on {ends:%Y-%m-%d %H:%M} UTC, in {(ends - now).days} days")
    public = one.public_key()
    if isinstance(public, rsa.RSAPublicKey) and public.key_size < _SMALLEST_RSA:
        at.note(key, f"its RSA key has {public.key_size} bits; {_SMALLEST_RSA} or more are common")


def _validity(one: x509.Certificate) -> tuple[datetime, datetime]:
    # Newer versions of the library have these, and warn of those without a time zone.
    begins: datetime | None = getattr(one, "not_valid_before_utc", None)
    ends: datetime | None = getattr(one, "not_valid_after_utc", None)
    if begins is None or ends is None:
        return one.not_valid_before.replace(tzinfo=UTC), one.not_valid_after.replace(tzinfo=UTC)
    return begins, ends


def _is_its_key(local: x509.Certificate, der: bytes, at: Table) -> None:
    try:
        key = load_der_private_key(der, None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        at.note("local_key", f"the key is not looked into: {str(error).partition('(')[0].strip()}")
        return
    if _public(key) != _public(local.public_key()):
        text = f"it is the key of another certificate; allowed: the key of {shown(_subject(local))}"
        at.refuse("local_key", text, "local_cert")


def _has_identity(one: x509.Certificate, cert: str, key: str, identity: str, at: Table) -> None:
    names = Names(_rdns(one.subject), tuple(_others(one)))
    if names.has(identity) is False:
        text = f"{shown(identity)} is not in {cert}, which is for {names.listed() or 'nothing'}"
        hint = ""
        if any(value == identity for _, value in names.subject):
            hint = ": a common name does not count, only subject alternative names and the whole subject"
        at.refuse(key, f"{text}{hint}; allowed: one of these, or a certificate for {identity}", cert)


def _is_authority(one: x509.Certificate, key: KeyPath, others: list[x509.Certificate], at: Table) -> None:
    try:
        is_authority = one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_authority = False
    if not is_authority:
        text = f"{shown(_subject(one))} is no CA (basic constraints), and charon takes it for none"
        at.refuse(key, f"{text}; allowed: the CA's certificate, or remote_cert for the other side's own")
    elif not any(_is_issued_by(one, other) for other in (one, *others)):
        text = f"it is an intermediate CA whose issuer, {shown(spelled(_rdns(one.issuer)))}, is not in ca_certs"
        at.refuse(key, f"{text}: charon trusts roots alone; allowed: all certificates up to the root, each in a file")


def _is_issued_by(one: x509.Certificate, issuer: x509.Certificate) -> bool:
    if one.issuer != issuer.subject:
        return False
    try:
        key, algorithm = issuer.public_key(), one.signature_hash_algorithm
        if isinstance(key, rsa.RSAPublicKey) and algorithm is not None:
            if one.signature_algorithm_oid == x509.SignatureAlgorithmOID.RSASSA_PSS:
                return True  # its parameters cannot be read by the oldest version of the library: the name has to do
            key.verify(one.signature, one.tbs_certificate_bytes, padding.PKCS1v15(), algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm is not None:
            key.verify(one.signature, one.tbs_certificate_bytes, ec.ECDSA(algorithm))
        elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            key.verify(one.signature, one.tbs_certificate_bytes)
    except InvalidSignature:
        return False
    except UnsupportedAlgorithm:
        return True
    return True


def _public(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined,no-any-return]


def _subject(one: x509.Certificate) -> str:
    return spelled(_rdns(one.subject))


def _rdns(name: x509.Name) -> tuple[Rdn, ...]:
    return tuple((_SHORT.get(one.oid._name, one.oid._name.upper()), str(one.value)) for one in name)


def _others(one: x509.Certificate) -> Iterator[tuple[Kind, str]]:
    try:
        names: Iterable[x509.GeneralName] = one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    kinds: tuple[tuple[type[x509.GeneralName], Kind], ...] = (
        (x509.IPAddress, "address"), (x509.DNSName, "fqdn"), (x509.RFC822Name, "email"),
    )  # fmt: skip
    for name in names:
        for of, kind in kinds:
            if isinstance(name, of):
                yield kind, str(name.value)
