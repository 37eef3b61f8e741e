"""Rules about what the service can read, which is not root and sees only a part of the files. Pure."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mcastd.config.key_files import GROUP
from mcastd.config.line_numbers import KeyPath
from mcastd.config.model import Config
from mcastd.config.report import Report
from mcastd.tools.check.facts import Facts

USER = GROUP
"""Of the service; its group has the same name."""
INSTALLED: Final = Path("/etc/mcastd.toml")
"""The file that the service reads."""
_RUNTIME = Path("/run/mcastd")


def check(config: Config, facts: Facts, report: Report) -> None:
    """Report each file that the service cannot read; as a note where it reads another file than this one."""
    if not facts.has_service:
        return
    say = report.refuse if facts.is_installed else report.note
    for path, file in named(config, report):
        if hidden := _hidden(file, facts):
            text = f"{file} is below {hidden}, which the service does not see (ProtectHome=, PrivateTmp= of its unit)"
            say(path, f"{text}; allowed: a file in /etc/mcastd")
        elif (barrier := facts.unreadable.get(file)) is not None:
            what = f"the user {USER} of the service cannot read {file}"
            if barrier == file:
                say(path, f"{what}; allowed: chgrp {USER} {file}, chmod 0640 {file}")
            else:
                say(
                    path,
                    f"{what}, since {barrier} is closed to it; allowed: a file in /etc/mcastd, or chmod a+x {barrier}",
                )
    if facts.is_installed and config.daemon.runtime_dir != _RUNTIME:
        text = f"the service can write to {_RUNTIME} alone (RuntimeDirectory= of its unit)"
        report.table("daemon").note("runtime_dir", f"{text}; other folders need a drop-in for mcastd.service")


def named(config: Config, report: Report) -> Iterator[tuple[KeyPath, Path]]:
    """The files that the service reads, each with the key that names it."""
    if report.file.absolute() == INSTALLED:
        yield (), report.file
    yield from ((("include",), file) for file in sorted(report.included))
    for forward in config.forward:
        if forward.members_file is not None:
            yield ("forward", forward.name, "members_file"), forward.members_file
    for peer in config.peers:
        at: KeyPath = ("peers", peer.name)
        for key in ("psk_file", "local_cert", "local_key", "remote_cert"):
            file = getattr(peer, key)
            if file is not None:
                yield (*at, key), file
        yield from (((*at, "ca_certs", index), file) for index, file in enumerate(peer.ca_certs))


def _hidden(file: Path, facts: Facts) -> Path | None:
    """The folder that hides a file, also where a symbolic link leads into it."""
    real = Path(os.path.realpath(file))
    return next((folder for folder in facts.hidden if folder in file.parents or folder in real.parents), None)
