"""Tables and texts as lines, for a pipe and for a terminal."""

from hypothesis import given
from hypothesis import strategies as st

from mcastd.cli.layout import Block, Cell, Column, Table, Text, lines, plain, wide

COLUMNS = (
    Column("group"),
    Column("packets", right=True),
    Column("empty"),
    Column("age", right=True, rank=1),
    Column(""),
)
TABLE = Table(
    COLUMNS,
    (
        ("239.1.1.1", "1,200", "", "0.2s", Cell("what is said of it takes some more words than fit", "bad")),
        Text("below it", "dim", indent=4),
        ("239.1.1.10", "7", "", "1m00s", ""),
    ),
    indent=2,
)


def test_columns_are_aligned_and_an_empty_one_is_left_out() -> None:
    assert plain([TABLE]) == (
        "  group       packets    age\n"
        "  239.1.1.1     1,200   0.2s  what is said of it takes some more words than fit\n"
        "    below it\n"
        "  239.1.1.10        7  1m00s\n"
    )


def test_on_a_terminal_the_last_column_goes_on_below_itself() -> None:
    assert plain([TABLE], 60) == (
        "  group       packets    age\n"
        "  239.1.1.1     1,200   0.2s  what is said of it takes some\n"
        "                              more words than fit\n"
        "    below it\n"
        "  239.1.1.10        7  1m00s\n"
    )


def test_on_a_narrow_terminal_a_column_of_a_rank_is_left_out() -> None:
    assert plain([TABLE], 50) == (
        "  group       packets\n"
        "  239.1.1.1     1,200  what is said of it takes\n"
        "                       some more words than fit\n"
        "    below it\n"
        "  239.1.1.10        7\n"
    )


def test_a_text_goes_on_below_itself_indented() -> None:
    text = Text("a line that is longer than thirty columns", indent=2)
    assert plain([text]) == "  a line that is longer than thirty columns\n"
    assert plain([text], 30) == "  a line that is longer than\n    thirty columns\n"


def test_a_line_has_its_styles() -> None:
    assert list(lines([Table((Column("one"), Column("two")), (("a", Cell("b", "good")),))])) == [
        (Cell("one", "title"), Cell("  "), Cell("two", "title")),
        (Cell("a  "), Cell("  "), Cell("b", "good")),
    ]


def test_nothing_is_shown_of_a_table_without_rows() -> None:
    assert plain([Table(COLUMNS, ())]) == ""


def test_what_is_foreign_neither_controls_the_terminal_nor_moves_a_column() -> None:
    table = Table((Column("name"), Column("n")), (("\x1b[31mred\n", "1"), ("東京", "2"), ("[bold]x", "3")))
    assert plain([table]) == "name       n\n?[31mred?  1\n東京       2\n[bold]x    3\n"


texts = st.text(max_size=40)
tables = st.builds(
    Table,
    st.just((Column("a"), Column("b", right=True, rank=1), Column("c", rank=2), Column("d"))),
    st.lists(st.tuples(texts, texts, texts, texts) | st.builds(Text, texts, indent=st.integers(0, 4)), max_size=5),
    st.integers(0, 4),
)
blocks = st.lists(tables | st.builds(Text, texts, indent=st.integers(0, 4)), max_size=4)


@given(blocks, st.none() | st.integers(20, 200))
def test_no_line_has_a_blank_at_its_end_or_breaks_by_itself(found: list[Block], width: int | None) -> None:
    for line in plain(found, width).split("\n"):
        assert line == line.rstrip()
        assert line.isprintable()


@given(blocks)
def test_a_pipe_gets_all_of_it(found: list[Block]) -> None:
    shown = plain(found)
    for block in found:
        rows = (block,) if isinstance(block, Text) else block.rows
        cells = [cell for row in rows for cell in ((row.text,) if isinstance(row, Text) else row)]
        for cell in cells:
            assert isinstance(cell, str)
            assert "".join(one if one.isprintable() else "?" for one in cell).strip() in shown


@given(st.lists(st.tuples(*4 * (st.text(max_size=15),)), max_size=5), st.integers(130, 200))
def test_what_can_fit_fits(rows: list[tuple[str, str, str, str]], width: int) -> None:
    table = Table(tuple(map(Column, "abcd")), rows)
    assert plain([table], width) == plain([table])
    assert all(wide(line) <= width for line in plain([table], width).split("\n"))
