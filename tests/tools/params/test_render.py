import csv
import io
from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from mcastd.tools.params.render import FORMATS, comma_separated, html_page, markdown
from mcastd.tools.params.rows import Row, Table

CELLS = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1)
TABLES = st.lists(st.builds(Table, CELLS, st.lists(st.builds(Row, CELLS, CELLS, CELLS)).map(tuple)), max_size=3)
HOSTILE = [Table("a | b", (Row("<script>alert(1)</script>", '"x", =1+1', "`*_[]&amp;"),))]


class Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag == "td":
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells and self.lasttag == "td" and data != "\n":
            self.cells[-1] += data


@settings(deadline=None)
@given(tables=TABLES)
def test_html_gives_back_every_cell_and_no_other_tag(tables: list[Table]) -> None:
    parser = Cells()
    parser.feed(html_page(tables))
    parser.close()
    assert parser.cells == [cell for table in tables for row in table.rows for cell in (row.name, row.ours, row.theirs)]
    structure = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "table", "tr", "th", "td"}
    assert parser.tags <= structure


def test_html_needs_nothing_else() -> None:
    page = html_page(HOSTILE)
    assert "<script" not in page
    assert "http" not in page
    assert "src=" not in page


@settings(deadline=None)
@given(tables=TABLES)
def test_csv_gives_back_every_cell(tables: list[Table]) -> None:
    rows = list(csv.reader(io.StringIO(comma_separated(tables), newline="")))
    assert rows[0] == ["Section", "Parameter", "Our side", "Your side"]
    wanted = [[table.title, row.name, row.ours, row.theirs] for table in tables for row in table.rows]
    assert [[cell.removeprefix("'") for cell in row] for row in rows[1:]] == [
        [cell.removeprefix("'") for cell in row] for row in wanted
    ]


def test_no_cell_of_csv_is_a_formula() -> None:
    text = comma_separated([Table("t", (Row("IKE identity", "@vpn.example.com", "=1+1"),))])
    assert text.splitlines()[1] == "t,IKE identity,'@vpn.example.com,'=1+1"


@settings(deadline=None)
@given(tables=TABLES)
def test_markdown_keeps_every_row_on_a_line_of_three_cells(tables: list[Table]) -> None:
    rows = [line for line in markdown(tables).splitlines() if line.startswith("| ")]
    assert len(rows) == sum(len(table.rows) + 1 for table in tables)
    for row in rows:
        assert row.replace("\\\\", "").replace("\\|", "").count("|") == 4


def test_markdown_escapes_what_is_its_own() -> None:
    text = markdown(HOSTILE)
    assert "\\<script\\>" in text
    assert "## a \\| b" in text
    assert "\\`\\*\\_\\[\\]\\&amp;" in text


def test_each_format_says_that_the_key_is_not_in_it_or_holds_nothing_but_the_table() -> None:
    assert set(FORMATS) == {"md", "csv", "html"}
    assert "Pre-shared keys are not in this document" in FORMATS["md"](HOSTILE)
    assert "Pre-shared keys are not in this document" in FORMATS["html"](HOSTILE)
