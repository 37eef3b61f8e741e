"""Generates the manual pages and shell completions from the commands' help and docs/configuration.md.

python packaging/manuals.py FOLDER     writes mcastd.8, mcastd.toml.5, mcastd.bash and _mcastd into FOLDER
"""

import argparse
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.pop("MCASTD_CONFIG", None)  # it would appear as the default
os.environ["COLUMNS"] = "100"

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mcastd import __version__  # noqa: E402
from mcastd.cli import COMMANDS, command_line  # noqa: E402

EXIT_STATUS = (
    "0: success. 1: failure, or something is down. 2: wrong usage or configuration. 3: the daemon does not answer."
)


def roff(text: str) -> str:
    """Text with the characters escaped that roff would interpret."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"(?m)^([.'])", r"\\&\1", escaped)


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The subparsers of a parser, by name."""
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found[0].choices) if found else {}


def literal(text: str) -> Iterator[str]:
    """Text without filling: line breaks are kept."""
    yield from (".PP", ".nf", roff(text.rstrip()), ".fi")


def commands_page(parser: argparse.ArgumentParser) -> Iterator[str]:
    """mcastd(8)."""
    yield f'.TH MCASTD 8 "" "mcastd {__version__}" "System administration"'
    yield ".SH NAME"
    yield f"mcastd \\- {roff('multicast through GRE and IPsec, by PIM, from one file')}"
    yield ".SH SYNOPSIS"
    yield ".B mcastd\n.I COMMAND\n[ARGUMENTS]"
    yield ".SH DESCRIPTION"
    yield roff(parser.description or "")
    yield ".SH COMMANDS"
    for name, sub in subcommands(parser).items():
        yield f".SS mcastd {roff(name)}"
        yield from literal(sub.format_help())
    yield ".SH SIGNALS"
    yield from (
        ".TP\nSIGHUP\nReload the configuration; errors are in the log.",
        ".TP\nSIGTERM, SIGINT\nSend Prunes and a goodbye Hello, remove SAs and tunnels, restore settings, exit.",
        ".TP\nSIGUSR2\nExit and leave everything in place for the next process; systemctl restart sends it.",
    )
    yield f".SH EXIT STATUS\n{roff(EXIT_STATUS)}"
    yield ".SH FILES"
    yield ".TP\n/etc/mcastd.toml\nThe configuration, mcastd.toml(5)."
    yield ".TP\n/etc/mcastd/\nPre\\-shared keys, root:mcastd, mode 0640."
    yield ".TP\n/run/mcastd/\nThe control socket, and the state that a restart or a teardown needs."
    yield ".SH SEE ALSO\n.BR mcastd.toml (5),\n.BR systemctl (1),\n.BR swanctl (8)"


def configuration_page(markdown: str) -> Iterator[str]:
    """mcastd.toml(5): the reference, its tables as lists."""
    yield f'.TH MCASTD.TOML 5 "" "mcastd {__version__}" "File formats"'
    yield ".SH NAME\nmcastd.toml \\- configuration of mcastd(8)"
    yield ".SH DESCRIPTION"
    for line in markdown.splitlines()[1:]:
        plain = re.sub(r"\\\*", "*", re.sub(r"[`]|\*\*", "", line))
        if line.startswith("## "):
            yield f".SH {roff(plain[3:])}"
        elif line.startswith("| `"):
            key, kind, default, meaning = (cell.strip() for cell in plain.strip("| ").split(" | ", 3))
            yield f".TP\n.B {roff(key)}\n({roff(kind)}; default: {roff(default)})\n{roff(meaning)}"
        elif line.startswith("|"):
            continue
        elif line.startswith("    "):
            yield from literal(line)
        elif line.startswith("- "):
            yield f".IP \\(bu 2\n{roff(plain[2:])}"
        else:
            yield roff(plain) or ".PP"


def words(parser: argparse.ArgumentParser) -> list[str]:
    """What may follow a command: its options, verbs and choices."""
    found = list(subcommands(parser))
    for action in parser._actions:
        found += [option for option in action.option_strings if option.startswith("--")]
        if action.choices is not None and not isinstance(action, argparse._SubParsersAction):
            found += [str(choice) for choice in action.choices]
    return found


def bash(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Completion for bash."""
    yield "# bash completion for mcastd"
    yield "_mcastd() {"
    yield "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]} words"
    yield '    case $before in -c|--config|--socket) COMPREPLY=($(compgen -f -- "$word")); return ;; esac'
    yield f"    if [ \"$COMP_CWORD\" = 1 ]; then words='{' '.join([*COMMANDS, '--help', '--version'])}'"
    yield "    else case $command in"
    for name, sub in subcommands(parser).items():
        yield f"        {name}) words='{' '.join(words(sub))}' ;;"
    yield "    esac; fi"
    yield '    COMPREPLY=($(compgen -W "$words" -- "$word"))'
    yield "}"
    yield "complete -o default -F _mcastd mcastd"


def zsh(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Completion for zsh."""
    yield "#compdef mcastd"
    yield "local -a commands options"
    yield "commands=("
    for name, text in COMMANDS.items():
        yield f"  '{name}:{text}'"
    yield ")"
    yield "if (( CURRENT == 2 )); then _describe command commands; return; fi"
    yield "case $words[CURRENT-1] in (-c|--config|--socket) _files; return ;; esac"
    yield "case $words[2] in"
    for name, sub in subcommands(parser).items():
        yield f"  ({name}) options=({' '.join(words(sub))}) ;;"
    yield "esac"
    yield "compadd -- $options"


def main() -> None:
    """Write everything into the folder that is named."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    parser = command_line(COMMANDS)
    reference = (ROOT / "docs" / "configuration.md").read_text()
    made = {
        "mcastd.8": commands_page(parser),
        "mcastd.toml.5": configuration_page(reference),
        "mcastd.bash": bash(parser),
        "_mcastd": zsh(parser),
    }
    for name, lines in made.items():
        (folder / name).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
