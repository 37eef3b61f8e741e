"""What a terminal gets, and a pipe: by a pseudo terminal, and a daemon that comes and goes."""

import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from mcastd.cli.layout import Text
from mcastd.cli.terminal import fitting
from mcastd.group_status import GroupReport, OriginStatus

_ALTERNATE, _MAIN = b"\x1b[?1049h", b"\x1b[?1049l"
_TIMEOUT = 60.0
FOREIGN = "[red]eth1[/red] \x1b[2J :warning:"  # markup, a control sequence, an emoji's name: nothing is read as that


def test_what_does_not_fit_is_counted() -> None:
    found = fitting([Text(str(number)) for number in range(10)], 80, 4)
    assert ["".join(cell.text for cell in line) for line in found] == ["0", "1", "2", "... 7 more lines"]
    assert len(fitting([Text(str(number)) for number in range(4)], 80, 4)) == 4


class Daemon:
    """Answers the question for a group, until it is closed."""

    def __init__(self, path: Path, group: str = "239.1.1.1") -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        origins = (OriginStatus(tunnel="gre1", origin=FOREIGN, source=None, age=1.0),)
        self._path, self._answer = path, msgspec.json.encode(GroupReport(group=group, origins=origins))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                with self._listener.accept()[0] as client, client.makefile("rwb") as lines:
                    lines.readline()
                    lines.write(b'{"ok":true,"result":' + self._answer + b"}\n")

    def close(self) -> None:
        self._path.unlink()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


class Screen:
    """A command on a pseudo terminal."""

    def __init__(self, *words: str, **environment: str) -> None:
        self._terminal, inner = pty.openpty()
        termios.tcsetwinsize(self._terminal, (24, 80))
        self.before = termios.tcgetattr(inner)
        kept = {name: text for name, text in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mcastd", *words], stdin=inner, stdout=inner, stderr=inner,
            env=kept | {"TERM": "xterm-256color"} | environment, start_new_session=True,
        )  # fmt: skip
        self._inner = inner
        self.seen = b""

    def until(self, wanted: bytes) -> bytes:
        """What was written up to these bytes, since the last call."""
        end = time.monotonic() + _TIMEOUT
        while wanted not in self.seen:
            assert select.select([self._terminal], [], [], end - time.monotonic())[0], self.seen
            self.seen += os.read(self._terminal, 65536)
        found, _, self.seen = self.seen.partition(wanted)
        return found + wanted

    def resize(self, lines: int, columns: int) -> None:
        termios.tcsetwinsize(self._terminal, (lines, columns))
        self.process.send_signal(signal.SIGWINCH)  # it is no session's terminal

    def ended(self) -> tuple[int, bytes]:
        code = self.process.wait(_TIMEOUT)
        while select.select([self._terminal], [], [], 0)[0]:
            self.seen += os.read(self._terminal, 65536)
        assert termios.tcgetattr(self._inner) == self.before
        return code, self.seen

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._inner)
        os.close(self._terminal)


@contextmanager
def screen(*words: str, **environment: str) -> Iterator[Screen]:
    found = Screen(*words, **environment)
    try:
        yield found
    finally:
        found.close()


@pytest.mark.parametrize(("ending", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_watched_screen_is_painted_in_place_and_restored(tmp_path: Path, ending: signal.Signals, code: int) -> None:
    path = tmp_path / "control.sock"
    daemon = Daemon(path)
    with screen("status", "--group", "239.1.1.1", "--watch", "--socket", str(path)) as seen:
        begun = seen.until(b"group 239.1.1.1")
        assert begun.count(_ALTERNATE) == 1
        assert seen.until(b"group 239.1.1.1").count(b"\x1b[H") >= 1  # again, from the upper left corner
        daemon.close()
        seen.until(b"mcastd does not answer")
        daemon = Daemon(path, "239.1.1.2")
        seen.until(b"group 239.1.1.2")
        seen.resize(3, 80)
        seen.until(b"more lines")
        seen.process.send_signal(ending)
        ended, rest = seen.ended()
        assert (ended, rest.count(_MAIN)) == (code, 1)
        assert b"\x1b[?25h" in rest  # the cursor is shown
        assert b"Traceback" not in rest
    daemon.close()


def test_a_first_answer_that_fails_is_said_on_the_screen_that_is_there(tmp_path: Path) -> None:
    with screen("status", "--watch", "--socket", str(tmp_path / "none.sock")) as seen:
        code, text = seen.ended()
        assert code == 3
        assert b"no mcastd answers" in text
        assert _ALTERNATE not in text


@pytest.mark.parametrize(
    ("environment", "has_colour"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_are_for_a_terminal_that_has_them(
    tmp_path: Path, environment: dict[str, str], has_colour: bool
) -> None:
    path = tmp_path / "control.sock"
    daemon = Daemon(path)
    with screen("status", "--group", "239.1.1.1", "--socket", str(path), **environment) as seen:
        code, text = seen.ended()
        assert (code, b"group 239.1.1.1" in text) == (0, True)
        assert b"receivers behind [red]eth1[/red] ?[2J :warning: for 1.0s" in text
        assert (b"\x1b" in text) == has_colour
    daemon.close()


def test_a_pipe_gets_no_escapes_and_what_is_wrong_is_said_once(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    daemon = Daemon(path)
    argv = [sys.executable, "-m", "mcastd", "status", "--group", "239.1.1.1", "--watch", "--socket", str(path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "group 239.1.1.1\n"
        daemon.close()
        assert "mcastd does not answer" in process.stderr.readline()
        daemon = Daemon(path, "239.1.1.2")
        found = next(line for line in process.stdout if "239.1.1.2" in line)
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate()
        assert re.search("\x1b", found + rest) is None
        assert (errors, process.returncode) == ("", 130)
    daemon.close()
