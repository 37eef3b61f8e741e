"""``./dev on RELEASE VERB ...``: run a verb of ./dev, of this working tree, in a minimal root of a Debian release.

The root is what ``debootstrap --variant=minbase`` makes, with git and python3 and nothing else. It is built once, in
.cache/on/RELEASE (remove that folder to have it built again). Each run has a copy that goes away with it, in namespaces
of its own (mounts, processes, host name, IPC), and the network of this machine. The verb installs what it needs, as on
a machine that is new. What it downloads is kept in .cache/on, and what it leaves in build/ is in build/RELEASE. Runs on
one release take turns.
"""

import argparse
import fcntl
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType

PROJECT = Path(__file__).resolve().parents[2]
STORE = (PROJECT / ".cache").resolve() / "on"
OS_RELEASE = Path("/etc/os-release")
INSIDE = Path("/usr/src/mcastd")
"""Where the working tree is in the root."""
_PASSED = re.compile(r"CI|TERM|(?i:\w+_proxy)|PIP_\w+|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|GIT_SSL_CAINFO")
"""The variables of the environment that registries may need, and two that every program may."""
_PATH = re.compile(r"(?<![\w:/.])(?:file://)?(/[\w.+-]+(?:/[\w.+-]+)+)")
_CERTIFICATES = Path("/usr/local/share/ca-certificates")
"""What this machine trusts beside what Debian's package ca-certificates brings."""
_PATIENCE = 60.0
"""Seconds that a command has to end after Ctrl-C."""


def say(text: str) -> None:
    """Print a line about what is done."""
    print(f"dev: {text}", file=sys.stderr, flush=True)  # noqa: T201  # a command prints


def output(*argv: str) -> str:
    """What a command prints."""
    return subprocess.run(argv, check=True, text=True, stdout=subprocess.PIPE).stdout


def sources(release: str) -> list[tuple[str, str, str]]:
    """Debian's package sources of this machine (URI, suite, component), with another release in place of its own."""
    own = re.search(r"(?m)^VERSION_CODENAME=(\S+)", OS_RELEASE.read_text())
    if own is None:
        return []
    fields = "$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)"
    lines = output("apt-get", "indextargets", "--format", fields, "Created-By: Packages").splitlines()
    found = [line.split() for line in dict.fromkeys(lines)]
    return [
        (uri, suite.replace(own[1], release, 1), component)
        for origin, uri, suite, component in found
        if origin == "Debian" and suite.startswith(own[1])
    ]


def make_root(release: str, target: Path) -> None:
    """Build the root, with this machine's package sources."""
    found = sources(release)
    if not found:
        subprocess.run(["apt-get", "-q", "update"], check=True, stdout=subprocess.DEVNULL)
        found = sources(release)
    say(f"building a minimal root of {release} in {target}")
    new, packages, log = target.with_name("root.new"), target.with_name("apt"), target.with_name("log")
    shutil.rmtree(new, ignore_errors=True)
    mirrors = [uri for uri, suite, _ in found if suite == release]
    argv = ["debootstrap", "--variant=minbase", "--include=git,python3", f"--cache-dir={packages}", release, str(new)]
    proxy = re.search('Acquire::http::Proxy "(.+)"', output("apt-config", "dump"))
    environment = {"http_proxy": proxy[1]} if proxy else {}
    with log.open("w") as file:
        done = subprocess.run(
            [*argv, *mirrors[:1]], stdout=file, stderr=subprocess.STDOUT, env=environment | os.environ, check=False
        )
    if done.returncode:
        sys.exit(f"dev: debootstrap failed; the end of {log}:\n" + "\n".join(log.read_text().splitlines()[-20:]))
    if found:
        (new / "etc/apt/sources.list").write_text("".join(f"deb {' '.join(one)}\n" for one in found))
    shutil.rmtree(new / "var/cache/apt/archives")
    new.rename(target)


def configuration(files: Path) -> Iterator[Path]:
    """Copy what apt and pip are set to into ``files``, and yield the files that it is from."""
    settings = output("apt-config", "dump").splitlines()
    ours = [line for line in settings if re.match(r"Acquire::(?!IndexTargets|CompressionTypes|Changelogs)", line)]
    apt = files / "etc/apt/apt.conf.d/90machine"
    apt.parent.mkdir(parents=True)
    apt.write_text("\n".join([*ours, 'APT::Keep-Downloaded-Packages "true";', ""]))
    yield apt
    # Nothing of the root outlives the run, so that dpkg need not wait for the disk.
    dpkg = files / "etc/dpkg/dpkg.cfg.d/90unsafe-io"
    dpkg.parent.mkdir(parents=True)
    dpkg.write_text("force-unsafe-io\n")
    home = Path.home()
    named = [os.environ.get("PIP_CONFIG_FILE", "/etc/pip.conf"), "/etc/xdg/pip/pip.conf", "/etc/apt/auth.conf"]
    named += [str(home / ".config/pip/pip.conf"), str(home / ".pip/pip.conf"), "/etc/resolv.conf", "/etc/hosts"]
    for path in map(Path, named):
        if path.is_file():
            copy(path, files)
            yield path


def copy(path: Path, files: Path) -> None:
    """Copy a file or folder to the same place below ``files``; of a link, what it leads to."""
    target = files / path.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, target, dirs_exist_ok=True, ignore_dangling_symlinks=True)
    else:
        shutil.copy(path, target)


def named_paths(texts: Iterable[str]) -> Iterator[Path]:
    """The files and folders of this machine that are named in these texts: certificates, folders of packages."""
    for path in dict.fromkeys(Path(found) for text in texts for found in _PATH.findall(text)):
        if path.exists():
            yield path


def in_root(store: Path, path: Path) -> bool:
    """Whether the root has this file or folder already."""
    return (store / "root" / path.relative_to("/")).exists()


def copy_tree(target: Path) -> None:
    """Copy what git would: the working tree as it is, without what it ignores."""
    listed = ["git", "-C", str(PROJECT), "-c", "safe.directory=*", "ls-files", "-z"]
    for name in output(*listed, "--cached", "--others", "--exclude-standard").split("\0"):
        source = PROJECT / name
        if name and (source.is_file() or source.is_symlink()):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name, follow_symlinks=False)


def prepare(release: str, store: Path, run: Path) -> None:
    """Make what enter.sh reads."""
    files = run / "files"
    environment = {name: value for name, value in os.environ.items() if _PASSED.fullmatch(name)}
    environment |= {
        "HOME": str(Path.home()),
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }
    texts = [path.read_text() for path in configuration(files)]
    if _CERTIFICATES.is_dir():
        copy(_CERTIFICATES, files)
    binds = {
        run / "tree": INSIDE,
        store / "cache": INSIDE / ".cache",
        PROJECT / "build" / release: INSIDE / "build",
        store / "apt": Path("/var/cache/apt/archives"),
        STORE / "pip": Path.home() / ".cache/pip",
    }
    shown = set()
    for path in named_paths([*texts, *environment.values()]):
        # An index of packages may link to files in a folder beside it.
        shallow = Path(*path.parts[:3])
        if path.is_relative_to("/etc"):
            copy(path, files)
        elif not in_root(store, shallow):
            shown.add(shallow)
        elif not in_root(store, path):
            shown.add(path)
    copy_tree(run / "tree")
    for source in binds:
        source.mkdir(parents=True, exist_ok=True)
    (files / Path.home().relative_to("/")).mkdir(parents=True, exist_ok=True)
    lines = [f"rw\n{source}\n{target}\n" for source, target in binds.items()]
    lines += [f"ro\n{path}\n{path}\n" for path in sorted(shown) if path.is_dir()]
    (run / "binds").write_text("".join(lines))
    (run / "environment").write_text(shlex.join(f"{name}={value}" for name, value in environment.items()))


def end(child: subprocess.Popen[bytes], living: int) -> None:
    """End all processes in the namespaces, which are then gone with their mounts."""
    child.kill()
    child.wait()
    os.read(living, 1)  # the other end of the pipe closes with the last of them


def enter(store: Path, run: Path, name: str, command: list[str]) -> int:
    """Run the command, and return its exit status."""
    argv = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
    argv += ["sh", str(Path(__file__).with_name("enter.sh")), str(store), str(run), name, str(INSIDE), *command]
    living, inherited = os.pipe()
    child = subprocess.Popen(argv, pass_fds=[inherited])
    os.close(inherited)
    try:
        try:
            return child.wait()
        except KeyboardInterrupt:
            # The terminal has sent it to the command as well.
            return child.wait(_PATIENCE)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        return 128 + signal.SIGINT
    finally:
        end(child, living)


def stop(number: int, _: FrameType | None) -> None:
    """Handle a signal that ends everything."""
    sys.exit(128 + number)


def main() -> int | str:
    """Read the command line and run; returns the exit status, or what went wrong."""
    parser = argparse.ArgumentParser(
        prog="./dev on", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("release", help="bookworm, trixie or another one that debootstrap knows")
    parser.add_argument("verb", help="a verb of ./dev; or 'sh', for a shell")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="what follows the verb")
    asked = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    store = STORE / asked.release
    run = store / "run"
    store.mkdir(parents=True, exist_ok=True)
    (store / "apt").mkdir(exist_ok=True)
    with (store / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another run on {asked.release}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(run, ignore_errors=True)  # of a run that was killed
        try:
            if not (store / "root").exists():
                make_root(asked.release, store / "root")
            run.mkdir()
            prepare(asked.release, store, run)
            command = ["bash"] if asked.verb == "sh" else ["./dev", asked.verb]
            return enter(store, run, asked.release, [*command, *asked.arguments])
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
        except subprocess.CalledProcessError as error:
            return f"dev: {error}"
        finally:
            shutil.rmtree(run, ignore_errors=True)


if __name__ == "__main__":
    began = time.monotonic()
    status = main()
    say(f"took {time.monotonic() - began:.0f} s on {sys.argv[1]}")
    sys.exit(status)
