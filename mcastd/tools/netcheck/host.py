"""What of this machine matters before there is a configuration: the kernel, other programs' firewalls, the cloud."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from mcastd.tools.doctor.collect import lacks
from mcastd.tools.netcheck.report import Cloud, Machine

_METADATA: Final = "169.254.169.254"
_METADATA_TIMEOUT = 0.5  # seconds: it is on the link where it is at all
_NFT_TIMEOUT = 5.0  # seconds
_OWN_TABLES = "mcastd"
_LEGACY: Final = Path("/proc/net/ip_tables_names")


def look() -> Machine:
    """Look at the machine, without changing anything; without privilege firewalls are not seen."""
    return Machine(tuple(sorted(lacks())), tuple(_firewalls()), _cloud())


def _firewalls() -> Iterator[str]:
    for entry in _nft_chains():
        name = f"table {entry['family']} {entry['table']}, chain {entry['name']}"
        if entry.get("hook") == "input" and not entry["table"].startswith(_OWN_TABLES):
            if entry["table"] == "firewalld":
                yield f"firewalld ({name})"
            elif entry.get("policy") == "drop":
                yield f"{name}, policy drop"
    try:
        if "filter" in _LEGACY.read_text().split():
            yield "iptables-legacy, chain INPUT"
    except OSError:
        return


def _nft_chains() -> list[dict[str, str]]:
    nft = shutil.which("nft") or shutil.which("nft", path="/sbin:/usr/sbin")
    if nft is None:
        return []
    try:
        listed = subprocess.run(
            [nft, "--json", "list", "chains"], check=True, capture_output=True, timeout=_NFT_TIMEOUT
        )
        return [entry["chain"] for entry in json.loads(listed.stdout)["nftables"] if "chain" in entry]
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError):
        return []  # nothing can be said of other programs' chains


def _cloud() -> Cloud | None:
    """What EC2's metadata service says (version 2: with a token); None where there is none."""
    service = HTTPConnection(_METADATA, timeout=_METADATA_TIMEOUT)
    try:
        token = _get(service, "/latest/api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
        headers = {"X-aws-ec2-metadata-token": token}
        kind, zone, public = (
            _get(service, f"/latest/meta-data/{what}", "GET", headers)
            for what in ("instance-type", "placement/availability-zone", "public-ipv4")
        )
        return Cloud(kind, zone, IPv4Address(public) if public else None) if kind else None
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        service.close()


def _get(service: HTTPConnection, path: str, method: str, headers: dict[str, str]) -> str:
    """The text of an answer; empty if there is no such thing."""
    service.request(method, path, headers=headers)
    answer = service.getresponse()
    text = answer.read().decode()
    return text if answer.status == 200 else ""
