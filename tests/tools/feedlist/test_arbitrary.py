"""Whatever is in a list, it is imported as a valid configuration, or refused; nothing else happens."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mcastd.config.load import loads
from mcastd.errors import ConfigError
from mcastd.tools.feedlist import draft, read
from mcastd.tools.feedlist.entry import Source
from mcastd.tools.feedlist.write import toml
from tests.tools.feedlist.lists import ASTS, CME, CSV, SPECTRA, WIDE

TUNNEL = """
[tunnels.gre1]
local = "198.18.255.1"
remote = "198.18.255.2"
address = "198.18.255.5/30"
upstream = "none"
"""
LISTS = [("x.xml", text.encode()) for text in (CME, SPECTRA)] + [("x.csv", text.encode()) for text in (CSV, WIDE)]
LISTS.append(("x.xml", ASTS.encode("cp1251")))
MARKUP = "<feed> </feed> <ip>239.1.1.1</ip> <port> <![CDATA[ ]]> <!-- --> &#0; &amp; <?x <connection> </connection>"
PIECES = st.sampled_from(
    [*MARKUP.split(), "<!DOCTYPE a [", "<type>B</type>", *(",", ";", '"', "\n", "A", "\0", "#", "é", "9" * 8)]
)


def imported(name: str, content: bytes) -> None:
    source = Source(Path(name))
    try:
        feeds = draft.feeds(read.entries(content, source), source)
    except ConfigError:
        return
    text = toml(feeds, draft.groups(feeds, source, any_source=False), name, "x.toml", "gre1")
    loads(text + TUNNEL, Path("x.toml"), check_files=False)


@settings(max_examples=200, deadline=None)
@given(one=st.sampled_from(LISTS), at=st.integers(0, 4000), cut=st.integers(0, 60), pieces=st.lists(PIECES, max_size=4))
def test_a_damaged_list(one: tuple[str, bytes], at: int, cut: int, pieces: list[str]) -> None:
    name, content = one
    at %= len(content)
    imported(name, content[:at] + "".join(pieces).encode() + content[at + cut :])


@settings(max_examples=200, deadline=None)
@given(content=st.binary() | st.text().map(str.encode) | st.lists(PIECES).map(lambda pieces: "".join(pieces).encode()))
def test_any_bytes(content: bytes) -> None:
    imported("x.xml", content)
    imported("x.csv", content)
    imported("x.csv", b"name,group,port,source,side,format\n" + content)


@settings(max_examples=50, deadline=None)
@given(cells=st.lists(st.tuples(st.text(max_size=70), st.integers(1, 20), st.sampled_from("AB ")), min_size=1))
def test_any_names(cells: list[tuple[str, int, str]]) -> None:
    rows = (f'"{name.replace(chr(34), "")}",239.1.1.{last},{side},pitch\n' for name, last, side in cells)
    imported("x.csv", ("name,group,side,format\n" + "".join(rows)).encode(errors="replace"))
