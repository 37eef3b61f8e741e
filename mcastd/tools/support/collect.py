"""Collects the content of the archive: output of commands, files, the journal. Nothing on the host is changed."""

import base64
import binascii
import io
import os
import re
import subprocess
import sys
import tarfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from mcastd import __version__
from mcastd.config import include
from mcastd.tools.support.redact import redact

_TIMEOUT: Final = 20.0  # seconds for each command, and for the journal of one unit
_LARGEST: Final = 8 << 20  # bytes of one file in the archive; what comes before its last 8 MiB is left out

_UNITS: Final = ("mcastd.service", "strongswan.service")
_COMMANDS: Final = {  # the first word of command lines, and what follows it in each
    "mcastd": ("status --all", "status --json", "doctor", "check", "firewall", "--version"),
    "swanctl": ("--list-sas", "--list-conns", "--list-certs", "--stats"),
    "ip": ("-d -s link", "address", "rule", "route show table all", "neighbour", "maddress", "-s mroute"),
    "ip -s xfrm": ("state list nokeys", "policy"),
    "": ("nft list ruleset", "ss -uwanpm", "uname -a", "lsmod"),
    "dpkg-query": ("-W mcastd charon-systemd libcharon-extra-plugins nftables iproute2 systemd",),
    "systemctl": (f"status --no-pager --lines=0 {' '.join(_UNITS)}",),
}
_COUNTERS: Final = "dev snmp netstat xfrm_stat igmp mcfilter ip_mr_vif ip_mr_cache softnet_stat"
_RUNTIME: Final = "ledger.json handover.json joins/* log*"
_SYSCTLS: Final = "ipv4/ip_forward ipv4/igmp_max_* core/rmem_* core/netdev_max_backlog"
_SYSCTLS_OF_INTERFACES: Final = "*forwarding rp_filter accept_local log_martians disable_* force_igmp_version"


Output = tuple[bytes, str | None]
"""What was collected from one source, and why it is missing or incomplete, if it is."""


class Item(NamedTuple):
    """One file of the archive: where its content comes from, and the function that returns it."""

    source: str
    read: Callable[[], Output]  # raises OSError or subprocess.TimeoutExpired

    @property
    def name(self) -> str:
        """The name of the file: the source, with "-" for all that is not a letter or a digit."""
        return f"{re.sub(r'[^0-9A-Za-z]+', '-', self.source).strip('-')[-100:]}.txt"


def items(config: Path, control_socket: Path) -> list[Item]:
    """All that is to be collected for a configuration, which may be missing or invalid."""
    vici, included = "/run/charon.vici", list[Path]()
    with suppress(OSError, ValueError, KeyError, TypeError):
        document = tomllib.loads(config.read_text())
        patterns = document.get("include", [])
        included += (file for _, file in include.files([patterns] if isinstance(patterns, str) else patterns, config))
        vici = str(document["daemon"]["vici_socket"])
    lines = [f"{first} {rest}".strip() for first, more in _COMMANDS.items() for rest in more]
    lines += [f"ethtool -S {link.parent.name}" for link in sorted(Path("/sys/class/net").glob("*/device"))]
    env = os.environ | {"MCASTD_CONFIG": str(config), "MCASTD_SOCKET": str(control_socket), "LC_ALL": "C"}
    env["PATH"] = f"{env.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"
    files = [config, *included[: include.MOST], Path("/etc/os-release"), Path("/etc/strongswan.d/mcastd.conf")]
    sysctls = [*_SYSCTLS.split(), *(f"ipv4/conf/*/{name}" for name in _SYSCTLS_OF_INTERFACES.split())]
    folders = {"/proc/net": _COUNTERS.split(), "/proc/sys/net": sysctls, str(control_socket.parent): _RUNTIME.split()}
    return [
        *(Item(str(path), partial(_file, path)) for path in files),
        *(Item(line, partial(_command, _argv(line, vici), env)) for line in lines),
        *(Item(f"files in {root}", partial(_files, Path(root), names)) for root, names in folders.items()),
        *(Item(f"journal of {unit}, last 24 hours", partial(_journal, unit)) for unit in _UNITS),
    ]


def archive(collected: list[Item], keys: list[bytes], progress: Callable[[int, Item], None]) -> tuple[bytes, int]:
    """Collect the items into a .tar.xz without secrets; returns it, and how many items have a problem.

    ``keys`` are the pre-shared keys to remove, ``progress`` is called with the number of each item before it is read.
    """
    now = datetime.now().astimezone()
    data = io.BytesIO()
    contents: list[str] = []
    problems: list[str] = []
    with tarfile.open(fileobj=data, mode="w:xz") as tar:

        def add(name: str, content: bytes) -> None:
            member = tarfile.TarInfo(f"mcastd-support/{name}")
            member.size, member.mtime, member.mode = len(content), int(now.timestamp()), 0o600
            tar.addfile(member, io.BytesIO(content))

        for number, item in enumerate(collected, 1):
            progress(number, item)
            try:
                content, problem = item.read()
            except (OSError, subprocess.TimeoutExpired) as error:
                content, problem = b"", getattr(error, "strerror", None) or str(error)
            if content or problem is None:
                content = redact(content, keys)
                cut = f", of which the last {_LARGEST} are here" if len(content) > _LARGEST else ""
                contents.append(f"{item.name}: {item.source}, {len(content)} bytes{cut}")
                add(item.name, content[-_LARGEST:])
            if problem is not None:
                problems.append(f"{item.source}: {problem}")
        head = f"mcastd {__version__}, {now.isoformat(timespec='seconds')}, {os.uname().nodename}, uid {os.geteuid()}"
        text = [head, "Secrets are replaced by [redacted].", "", "Contents:", *contents]
        text += ["", "Missing or incomplete:", *problems, ""]
        add("contents.txt", redact("\n".join(text).encode(), keys))
    return data.getvalue(), len(problems)


def keys_of(config: Path) -> list[bytes]:
    """The pre-shared keys in the files that a configuration names, also an invalid one; only to remove them."""
    found = []
    with suppress(OSError):
        for name in re.findall(r"""psk_file["']?\s*=\s*["']([^"'\n]+)["']""", config.read_text(errors="replace")):
            with suppress(OSError, ValueError):
                found.append((config.parent / name).read_bytes().strip())
    return [*found, *(key for written in found for key in _decoded(written))]


def _decoded(written: bytes) -> Iterator[bytes]:
    """What a key may be that is written in base64 or in hexadecimal (``psk_encoding``)."""
    digits = b"".join(written.split())
    with suppress(ValueError):
        yield base64.b64decode(digits.removeprefix(b"0s"), validate=True)
    with suppress(ValueError):
        yield binascii.unhexlify(digits.removeprefix(b"0x"))


def _argv(line: str, vici: str) -> list[str]:
    program, *words = line.split()
    if program == "mcastd":
        return [sys.executable, "-P", "-m", "mcastd", *words]  # -P: nothing is imported from the current directory
    return [program, *words, *(["--uri", f"unix://{vici}"] if program == "swanctl" else [])]


def _command(argv: list[str], env: dict[str, str]) -> Output:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT, env=env, check=False)
    reason = done.stderr.decode(errors="replace").partition("\n")[0]
    problem = f"exit status {done.returncode}: {reason}" if done.returncode else None
    return done.stdout + done.stderr, problem


def _file(path: Path) -> Output:
    return path.read_bytes(), None


def _files(root: Path, names: list[str]) -> Output:
    found = [b"%b: %b" % (bytes(path), path.read_bytes()) for name in names for path in sorted(root.glob(name))]
    return b"".join(found), None if found else "no such files, or no permission to read them"


def _journal(unit: str) -> Output:
    """What a unit logged in the last day, and what systemd logged about it; the newest if that takes too long."""
    try:
        from systemd import daemon, journal
    except ImportError:
        return b"", "needs systemd's Python library (Debian: python3-systemd)"
    if not daemon.booted():
        return b"", "this host does not run systemd"
    since, deadline = datetime.now().astimezone() - timedelta(days=1), time.monotonic() + _TIMEOUT
    lines: list[bytes] = []
    with journal.Reader() as reader:
        reader.add_match(f"_SYSTEMD_UNIT={unit}")
        reader.add_disjunction()
        reader.add_match(f"UNIT={unit}")
        reader.seek_tail()
        while (entry := reader.get_previous()) and (time_ := entry["__REALTIME_TIMESTAMP"]) > since:
            if time.monotonic() > deadline:
                return b"".join(reversed(lines)), f"only the records from {time_} on: reading took too long"
            message = entry.get("MESSAGE", "")  # bytes if it is not UTF-8
            head = f"{time_.isoformat()} {entry.get('SYSLOG_IDENTIFIER', '')}[{entry.get('_PID', '')}]: "
            lines.append(head.encode() + (message if isinstance(message, bytes) else str(message).encode()) + b"\n")
    return b"".join(reversed(lines)), None if lines else "no records, or no permission to read them"
