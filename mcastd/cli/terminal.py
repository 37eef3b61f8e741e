"""Where what a command shows goes: to a terminal, with the colours that it has, or as plain text.

Colours are for a terminal alone, and not where NO_COLOR is set (https://no-color.org) or it is a dumb one. What goes to
a pipe or a file has no escape sequences and is as wide as it is. rich is loaded for a terminal alone.
"""

import io
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NoReturn

from mcastd.cli.layout import Block, Cell, Line, Style, lines, plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_COLOURS: Final[dict[Style, str]] = {
    "plain": "", "good": "green", "warn": "yellow", "bad": "bold red", "dim": "dim", "title": "bold",
}  # fmt: skip


def is_terminal() -> bool:
    """Whether standard output is a terminal with a cursor that can be moved."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")


def show(blocks: Iterable[Block]) -> None:
    """Print blocks."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # no character is worth an error
    if not is_terminal():
        print(plain(blocks), end="", flush=True)
        return
    # What is wider than the terminal is broken by the terminal itself, which loses nothing of it.
    _console().print(_text(lines(blocks, shutil.get_terminal_size().columns)), soft_wrap=True)


def repaint(ask: Callable[[], Iterable[Block]], period: float) -> NoReturn:
    """Show blocks in place, on a screen of the terminal's own, and ask for others every ``period`` seconds.

    It ends with an exception: KeyboardInterrupt at Ctrl-C, SystemExit at SIGTERM, or what ``ask`` raises; the terminal
    is then as it was.
    """
    from rich.live import Live

    blocks = list(ask())  # what is raised here is for the screen that is there
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGWINCH,))  # another size is waited for below
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    live = Live(console=_console(), screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
    with live:
        while True:
            size = shutil.get_terminal_size()
            live.update(_text(fitting(blocks, size.columns, size.lines)), refresh=True)
            if signal.sigtimedwait((signal.SIGWINCH,), period) is None:
                blocks = list(ask())


def fitting(blocks: Iterable[Block], width: int, height: int) -> list[Line]:
    """The first lines, as many as fit, and how many do not."""
    found = list(lines(blocks, width))
    if len(found) <= height:
        return found
    return [*found[: height - 1], (Cell(f"... {len(found) - height + 1} more lines", "dim"),)]


def _console() -> "Console":
    from rich.console import Console

    return Console(
        force_terminal=True, color_system=None if os.environ.get("NO_COLOR") else "auto", legacy_windows=False
    )


def _text(found: Iterable[Line]) -> "Text":
    """Of foreign text nothing is read as markup: rich sees it in cells with styles of ours."""
    from rich.text import Text

    text = Text(no_wrap=True, overflow="crop", end="")
    for number, line in enumerate(found):
        text.append("\n" if number else "")
        for cell in line:
            text.append(cell.text, _COLOURS[cell.style])
    return text
