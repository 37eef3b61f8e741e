"""An authority and certificates that it issues, made by openssl."""

import subprocess
from pathlib import Path

from mcastd.config.certificates import certificate, private_key
from mcastd.config.credentials import Certificates


class Authority:
    """A certification authority in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self.certificate = folder / f"{name}.crt"
        self._key = folder / f"{name}.key"
        new = ("-newkey", "rsa:2048", "-nodes", "-keyout", str(self._key), "-out", str(self.certificate))
        _openssl("req", "-x509", *new, "-subj", f"/CN={name}", "-days", "2")

    def issue(self, name: str, address: str) -> tuple[Path, Path]:
        """A certificate for an address, and its key."""
        request, cert, key = (self._folder / f"{name}.{suffix}" for suffix in ("csr", "crt", "key"))
        _openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(request),
                 "-subj", f"/CN={name}", "-addext", f"subjectAltName=IP:{address}")  # fmt: skip
        _openssl("x509", "-req", "-in", str(request), "-CA", str(self.certificate), "-CAkey", str(self._key),
                 "-CAcreateserial", "-days", "2", "-copy_extensions", "copy", "-out", str(cert))  # fmt: skip
        return cert, key


def read(pair: tuple[Path, Path], *authorities: Path, remote: Path | None = None) -> Certificates:
    """What a peer authenticates with, from files."""
    cert, key = pair
    return Certificates(
        local=certificate(cert).content,
        key=private_key(key).content,
        authorities=tuple(certificate(path).content for path in authorities),
        remote=certificate(remote).content if remote else None,
    )


def _openssl(*arguments: str) -> None:
    subprocess.run(("openssl", *arguments), check=True, capture_output=True)
