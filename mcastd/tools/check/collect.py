"""Observes what the checks know of this host. It changes nothing, and asks charon for its version alone."""

import json
import os
import pwd
import re
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from mcastd.config.model import Config
from mcastd.config.proposal_words import needs_charon_6
from mcastd.config.report import Report
from mcastd.tools.check.access import INSTALLED, USER, named
from mcastd.tools.check.facts import Facts, Interface

_ALIAS: Final = "made by mcastd"
_LOWEST_PORT: Final = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_TIMEOUT: Final = 5.0  # seconds
_HOMES: Final = tuple(map(Path, ("/home", "/root", "/run/user")))
_TEMPORARY: Final = tuple(map(Path, ("/tmp", "/var/tmp")))
_UNITS: Final = tuple(Path(folder) / "mcastd.service" for folder in ("/etc/systemd/system", "/lib/systemd/system"))


def look(config: Config, report: Report) -> Facts:
    """Observe what matters for a file; what cannot be seen is left at its default."""
    files = [file for _, file in named(config, report)]
    has_service = _has_user() and any(unit.exists() for unit in _UNITS)
    return Facts(
        now=datetime.now(UTC),
        is_installed=report.file.absolute() == INSTALLED,
        interfaces=_interfaces(),
        unreadable=unreadable(files) if has_service else {},
        hidden=_hidden() if has_service else (),
        has_service=has_service,
        charon=_charon(config),
        has_vici=config.daemon.vici_socket.exists() if os.geteuid() == 0 else None,
        lowest_port=_lowest_port(),
    )


def _has_user() -> bool:
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return False
    return True


def _interfaces() -> tuple[Interface, ...]:
    try:
        found = json.loads(_output("ip", "-json", "-4", "address") or "[]")
        names = json.loads(_output("ip", "-json", "link") or "[]")
    except ValueError:
        return ()
    addresses: dict[str, list[IPv4Address]] = {one["ifname"]: [] for one in names if "ifname" in one}
    for one in found:
        own = (IPv4Address(info["local"]) for info in one.get("addr_info", ()) if "local" in info)
        addresses.setdefault(one.get("ifname", ""), []).extend(own)
    links = {one.get("ifname"): one for one in names}
    return tuple(
        Interface(name, tuple(own), links.get(name, {}).get("ifalias") == _ALIAS, links.get(name, {}).get("mtu"))
        for name, own in addresses.items()
        if name
    )


def _hidden() -> tuple[Path, ...]:
    """What the unit hides, as it is installed with its drop-ins; without systemd, as the package has it."""
    shown = dict(line.split("=", 1) for line in _output(
        "systemctl", "show", "mcastd.service", "-p", "LoadState", "-p", "ProtectHome", "-p", "PrivateTmp"
    ).splitlines() if "=" in line)  # fmt: skip
    known = shown.get("LoadState") == "loaded"
    return (
        *(_HOMES if not known or shown.get("ProtectHome") in ("yes", "tmpfs") else ()),
        *(_TEMPORARY if not known or shown.get("PrivateTmp") in ("yes", "disconnected") else ()),
    )


def _lowest_port() -> int:
    try:
        return int(_LOWEST_PORT.read_text())
    except (OSError, ValueError):
        return 1024


def _charon(config: Config) -> str | None:
    """The version of charon, where a proposal depends on it; None if it cannot be asked."""
    proposals = [one for peer in config.peers for one in peer.proposals]
    proposals += [one for peer in config.peers for child in peer.children for one in child.proposals]
    if not any(map(needs_charon_6, proposals)):
        return None
    # What cannot connect prints its usage, with its own version.
    said = _output("swanctl", "--version", "--daemon", "--uri", f"unix://{config.daemon.vici_socket}", errors=True)
    found = re.search(r"strongSwan (\d[\w.]*)", said)
    return found[1] if found else None


def _output(*command: str, errors: bool = False) -> str:
    """What a command prints, with its errors or without; nothing where it cannot be run."""
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(command, check=False, capture_output=True, timeout=_TIMEOUT, env=environment)
        return (done.stdout + (done.stderr if errors else b"")).decode(errors="replace")
    return ""


def unreadable(files: Iterable[Path], user: str = USER) -> Mapping[Path, Path]:
    """The files that a user cannot read, each with what denies it. It takes root to know; without, there are none.

    A process becomes the user and tries: so modes, owners, access control lists and mount options all count.
    """
    files = list(files)
    if os.geteuid() != 0 or not files:
        return {}
    entry = pwd.getpwnam(user)
    groups = os.getgrouplist(user, entry.pw_gid)
    answer, ask = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        with suppress(BaseException):
            os.setgroups(groups)
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
            found = [barrier for file in files if (barrier := _barrier(file)) is not None]
            os.write(ask, json.dumps(found).encode())
            status = 0
        os._exit(status)
    os.close(ask)
    with os.fdopen(answer, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return {Path(file): Path(barrier) for file, barrier in json.loads(said or b"[]")}


def _barrier(file: Path) -> tuple[str, str] | None:
    """What of a path keeps this process from reading the file that exists there; None if nothing does."""
    real = Path(os.path.realpath(file))
    for folder in (*reversed(file.parents), *reversed(real.parents)):
        if folder.is_absolute() and not os.access(folder, os.X_OK):
            return str(file), str(folder)
    return None if os.access(real, os.R_OK) or not real.exists() else (str(file), str(file))
