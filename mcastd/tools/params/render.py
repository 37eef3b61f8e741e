"""Tables of parameters as Markdown, CSV or HTML, each a document that can be sent as it is. Pure."""

import csv
import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from mcastd.tools.params.rows import Table

_TITLE: Final = "Parameters to agree on"
_SECRET: Final = "Pre-shared keys are not in this document: they are exchanged separately."
_COLUMNS: Final = ("Parameter", "Our side", "Your side")
_MARKDOWN_SPECIAL: Final = re.compile(r"([\\`*_\[\]<>|~#&])")
_FORMULA: Final = ("=", "+", "-", "@")

_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font-family: sans-serif; margin: 2em auto; max-width: 60em; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ border: 1px solid #999; padding: 0.3em 0.6em; text-align: left; vertical-align: top; }}
th {{ background: #eee; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{secret}</p>
{body}
</body>
</html>
"""


def markdown(tables: Sequence[Table]) -> str:
    """A heading and a table for each; special characters of Markdown are escaped."""
    lines = [f"# {_TITLE}", "", _SECRET]
    for table in tables:
        lines += ["", f"## {_escaped(table.title)}", "", _line(_COLUMNS), "|---|---|---|"]
        lines += [_line((_escaped(row.name), _escaped(row.ours), _escaped(row.theirs))) for row in table.rows]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return _MARKDOWN_SPECIAL.sub(r"\\\1", text)


def comma_separated(tables: Sequence[Table]) -> str:
    """One table with a column for the sections (RFC 4180), safe to open in a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(("Section", *_COLUMNS))
    for table in tables:
        writer.writerows((table.title, row.name, _inert(row.ours), _inert(row.theirs)) for row in table.rows)
    return out.getvalue()


def _inert(cell: str) -> str:
    """A cell that no spreadsheet interprets as a formula, as it would the IKE identity ``@name``."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def html_page(tables: Sequence[Table]) -> str:
    """A page that needs no other file."""
    body = "\n".join(_html_table(table) for table in tables)
    return _PAGE.format(title=_TITLE, secret=_SECRET, body=body)


def _html_table(table: Table) -> str:
    head = _html_row("th", _COLUMNS)
    rows = "\n".join(_html_row("td", (row.name, row.ours, row.theirs)) for row in table.rows)
    return f"<h2>{html.escape(table.title)}</h2>\n<table>\n{head}\n{rows}\n</table>"


def _html_row(cell: str, texts: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{cell}>{html.escape(text)}</{cell}>" for text in texts) + "</tr>"


FORMATS: Final[Mapping[str, Callable[[Sequence[Table]], str]]] = {
    "md": markdown,
    "csv": comma_separated,
    "html": html_page,
}
"""The renderers by the values of ``--format``."""
