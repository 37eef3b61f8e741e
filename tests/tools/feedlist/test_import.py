"""Lists of exchanges to [[groups]] and [[feeds]]: what they say, what is noted, and what is refused."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from mcastd.cli import main
from mcastd.config.load import loads
from tests.tools.feedlist.lists import ASTS, CME, CSV, SPECTRA, WIDE

BEFORE = (Path(__file__).parents[3] / "etc" / "mcastd.toml").read_text().partition("\n[[groups]]")[0] + "\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Imported:
    """What became of a list: the exit code, what was printed, and the tables."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err.splitlines()
        tables: dict[str, list[dict[str, Any]]] = tomllib.loads(out)
        self.groups = {one["group"]: one.get("sources") for one in tables.get("groups", [])}
        self.feeds = {one.pop("name"): one for one in tables.get("feeds", [])}


class Bench:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, content: str | bytes, *arguments: str, name: str = "list.xml") -> Imported:
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
        code = main(["import", "--feeds", name, *arguments])
        printed = self._capsys.readouterr()
        return Imported(code, printed.out, printed.err)

    def refused(self, content: str | bytes, name: str = "list.xml") -> str:
        found = self(content, name=name)
        assert (found.code, found.out) == (2, "")
        (said,) = found.err
        assert said.startswith(f"{name}:")
        return said.removeprefix(f"{name}:")


@pytest.fixture
def made(capsys: pytest.CaptureFixture[str]) -> Bench:
    return Bench(capsys)


def test_cme_has_pairs_of_incremental_feeds_and_repeated_ones_by_side(made: Bench) -> None:
    found = made(CME)
    assert found.code == 0
    assert list(found.feeds.items()) == [
        ("CME 9 Incremental A", {"groups": ["224.0.31.9"], "port": 14309, "sequence": "cme-mdp3"}),
        ("CME 10 Incremental", {"sequence": "cme-mdp3", "pair": ["224.0.31.1:14310", "224.0.32.1:15310"]}),
        ("CME 10 Instrument Replay A", {"groups": ["224.0.31.43"], "port": 14310}),
        ("CME 10 Snapshot-MBO A", {"groups": ["224.0.31.43"], "port": 23310}),
        ("CME 10 Snapshot-MBO B", {"groups": ["224.0.32.64"], "port": 22310}),
    ]
    assert found.groups == {
        "224.0.31.1": ["192.0.2.6", "192.0.2.7"],
        "224.0.31.9": None,
        "224.0.31.43": ["192.0.2.7", "192.0.2.8"],
        "224.0.32.1": ["192.0.2.9"],
        "224.0.32.64": None,
    }
    assert found.err == [
        "note: list.xml:7: 10H1A: it is TCP/IP, no multicast",
        "note: list.xml:27: CME 10 Instrument Replay A: there is no B",
        "note: list.xml:51: CME 9 Incremental A: there is no B",
    ]
    assert "[[groups]]  # CME 10 Instrument Replay A, CME 10 Snapshot-MBO A\n" in found.out
    assert "\n# Tulip Futures & Options\n[[feeds]]\n" in found.out


def test_spectra_has_its_number_where_simba_has_it(made: Bench) -> None:
    found = made(SPECTRA)
    assert found.feeds == {
        "MOEX ORDERS-LOG D Incremental": {
            "sequence": "moex-simba",
            "pair": ["239.192.70.40:40040", "239.192.175.40:41040"],
        },
        "MOEX ORDERS-LOG D Snapshot A": {"groups": ["239.192.70.41"], "port": 40041},
    }
    assert found.groups["239.192.175.40"] == ["198.51.100.2"]
    assert found.err[1:] == ["note: list.xml:18: ORDERS-LOG D Historical Replay: it is TCP/IP, no multicast"]


def test_asts_has_both_sides_in_a_connection_and_an_encoding_and_names_of_its_own(made: Bench) -> None:
    found = made(ASTS.encode("cp1251"))
    assert found.feeds == {
        "MOEX CURR MSR Statistics Incremental": {
            "sequence": "moex-simba",
            "pair": ["239.195.1.107:16107", "239.195.1.235:17107"],
        },
        "MOEX CURR MSS Statistics Snapshot A": {"groups": ["239.195.1.108"], "port": 16108},
    }
    assert found.groups["239.195.1.235"] is None
    assert "# Рынок\n" in found.out
    assert "note: list.xml:15: MSS: it has no address" in found.err
    assert "note: list.xml:11: MOEX CURR MSS Statistics Snapshot A: there is no B" in found.err


def test_xml_and_tables_may_be_utf_16(made: Bench) -> None:
    assert made(CME.replace("UTF-8", "UTF-16").encode("utf-16")).feeds == made(CME).feeds
    assert made(CSV.encode("utf-16"), name="x.csv").feeds == made(CSV.encode("utf-8-sig"), name="x.csv").feeds


def test_a_table_has_headings_of_many_names(made: Bench) -> None:
    found = made(CSV, name="list.csv")
    assert found.feeds == {
        "Equities": {"sequence": "pitch", "pair": ["239.1.1.1:5000", "239.1.1.2:5000"]},
        "Indices": {"groups": ["239.1.1.3"], "port": 6000},
        "Indices B": {"groups": ["239.1.1.4"], "port": 6000},
    }
    assert found.groups == {
        "239.1.1.1": ["192.0.2.1", "192.0.2.2"],
        "239.1.1.2": ["192.0.2.1"],
        "239.1.1.3": None,
        "239.1.1.4": None,
    }
    assert found.err == ["note: list.csv:6: Indices B: there is no A"]


def test_a_table_without_a_newline_at_its_end_may_be_cut_off(made: Bench) -> None:
    found = made("Product;Multicast IP;UDP Port\nx;239.1.1.1;5000\ny;239.1.1.2;500", name="list.csv")
    assert found.feeds["y"] == {"groups": ["239.1.1.2"], "port": 500}
    assert found.err == ["note: list.csv:3: no newline is at its end: is the file whole?"]


def test_a_table_may_have_both_sides_in_a_line(made: Bench) -> None:
    found = made(WIDE, name="list.csv")
    assert found.feeds == {
        "1": {"sequence": "moldudp64", "pair": ["239.2.1.1:7001", "239.2.2.1:7002"]},
        "2 A": {"sequence": "moldudp64", "groups": ["239.2.1.2"], "port": 7001},
    }
    assert found.err == ["note: list.csv:3: 2: it has no address", "note: list.csv:3: 2 A: there is no B"]


def test_a_column_feed_has_the_side_or_the_name(made: Bench) -> None:
    text = "feed\tip\tport\n{}\t239.1.1.1\t1\n{}\t239.1.1.2\t1\n"
    assert list(made(text.format("A", "b"), name="x.tsv").feeds) == ["239.1.1.1 A", "239.1.1.2 B"]
    assert list(made(text.format("Trades", "Quotes"), name="x.tsv").feeds) == ["Quotes", "Trades"]


def test_the_result_is_valid_in_a_configuration_and_included_by_one(made: Bench) -> None:
    found = made(SPECTRA, "-o", "moex.toml", "--tunnel", "gre1")
    assert found.code == 0
    text = Path("moex.toml").read_text()
    assert f'# It can be included, include = ["{Path.cwd()}/moex.toml"], or appended' in text
    appended = loads(BEFORE + text, Path("x.toml").absolute(), check_files=False).config
    included = loads(f'include = ["moex.toml"]\n{BEFORE}', Path("x.toml").absolute(), check_files=False).config
    assert appended == included
    assert (len(included.groups), len(included.feeds)) == (3, 2)
    assert made(SPECTRA, "-o", "moex.toml").code == 1  # it is there already
    assert Path("moex.toml").read_text() == text


def test_feeds_are_chosen_by_name_and_sources_left_out(made: Bench) -> None:
    found = made(CME, "--only", "cme 10 s*", "--only", "*incremental b", "--any-source")
    assert list(found.feeds) == ["CME 10 Incremental B", "CME 10 Snapshot-MBO A", "CME 10 Snapshot-MBO B"]
    assert set(found.groups.values()) == {None}
    none = made(CME, "--only", "CME 11*")
    assert none.code == 2
    assert none.err[-1] == (
        "list.xml:1: no feed matches --only; allowed: patterns of its feeds, such as CME 10 Incremental, "
        "CME 10 Instrument Replay, CME 10 Snapshot-MBO"
    )


def test_what_a_group_of_ssm_needs(made: Bench) -> None:
    text = "name,group,source\nx,232.1.1.1,192.0.2.1\ny,232.1.1.2,\n"
    found = made(text, "--any-source", name="x.csv")
    assert found.groups == {"232.1.1.1": ["192.0.2.1"]}
    assert list(found.feeds) == ["x", "y"]
    assert found.err == ["note: x.csv:3: y: 232.1.1.2 is not joined: it is SSM, and the list has no source"]


def test_what_is_listed_twice_is_imported_once(made: Bench) -> None:
    text = "name,group,port\nx,239.1.1.1,1\ny,239.1.1.1,1\nx,239.1.1.1,2\nx,239.1.1.2,\n"
    found = made(text, name="x.csv")
    assert found.feeds == {
        "x": {"groups": ["239.1.1.1"], "port": 1},
        "x 2": {"groups": ["239.1.1.1"], "port": 2},
        "x 3": {"groups": ["239.1.1.2"]},
    }
    assert list(found.groups) == ["239.1.1.1", "239.1.1.2"]
    assert found.err == ["note: x.csv:3: y: 239.1.1.1:1 is x already, at line 2"]


def test_of_the_same_reason_some_notes_are_printed(made: Bench) -> None:
    lines = "".join(f"x{number},239.1.1.{number},A\n" for number in range(30))
    found = made(f"name,group,side\n{lines}", name="x.csv")
    assert len(found.err) == 21
    assert found.err[-1] == "note: x.csv: 10 more: there is no B"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("224.0.31.1<", "224.0.31.999<", '16: 10IA: "224.0.31.999" is no address; allowed: as in 239.1.1.1'),
        ("<port>14310", "<port>70000", '18: 10IA: "70000" is no port; allowed: 1 to 65535'),
        ("<port>14310", "<port>x", '18: 10IA: "x" is no port; allowed: 1 to 65535'),
        ("192.0.2.7<", "localhost<", '17: 10IA: "localhost" is no address; allowed: as in 239.1.1.1'),
        ("192.0.2.7<", "239.1.1.1<", "17: 10IA: 239.1.1.1 is no address of a source; allowed: a unicast address"),
        ("</channel>", "</chanel>", "48: not XML: mismatched tag; allowed: well-formed XML"),
        ("&amp;", "&amp", "4: not XML: not well-formed (invalid token); allowed: well-formed XML"),
        ("&amp;", "&secret;", "4: not XML: undefined entity; allowed: well-formed XML"),
        ('"UTF-8"', '"klingon"', "1: not XML that can be read: unknown encoding: klingon; allowed: UTF-8 and the like"),
    ],
)
def test_nonsense_is_refused_with_its_line(made: Bench, old: str, new: str, said: str) -> None:
    assert made.refused(CME.replace(old, new, 1)) == said


def test_what_cannot_be_joined_is_noted(made: Bench) -> None:
    for address, why in (
        ("192.0.2.1", "192.0.2.1 is no multicast address"),
        ("224.0.0.5", "224.0.0.5 is in 224.0.0.0/24, which never leaves its link"),
        ("ff15::1", "ff15::1 is IPv6"),
    ):
        found = made(CME.replace("224.0.31.9<", f"{address}<"))
        assert f"note: list.xml:54: 9IA: {why}" in found.err
        assert address not in found.groups
    found = made(CME.replace("<port>14309</port>", ""))
    assert "note: list.xml:51: 9IA: 224.0.31.9 has no port: it counts for all ports" in found.err
    assert found.feeds["CME 9 Incremental A"] == {"groups": ["224.0.31.9"], "sequence": "cme-mdp3"}


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f"{LAUGHS}]><x>&i;</x>", "1: it declares the entity a; allowed: a file without entities of its own"),
        ('<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><x>&f;</x>', "1: it declares the entity f; allowed"),
        ('<!DOCTYPE x [<!ENTITY % p SYSTEM "http://x/">%p;]><x/>', "1: it declares the entity p; allowed"),
        ("<x>" * 100 + "</x>" * 100, "1: elements are nested too deep; allowed: 64 levels"),
        ("<x/>", "1: it has no multicast address that can be joined; allowed: elements connection with ip and port"),
        ("\n\n<x>", "3: not XML: no element found"),
        ("", "1: not XML: no element found"),
        ("plain text", "1: not XML: syntax error"),
        (b"\xff\xfe<\0x", "1: not XML: "),
    ],
)
def test_what_is_no_list_in_xml(made: Bench, content: str | bytes, said: str) -> None:
    assert made.refused(content).startswith(said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "1: it has no column with groups; allowed: XML of CME or MOEX, or a table whose first line has headings"),
        ("# x\n\nname,port\n", "3: it has no column with groups"),
        ("name,group\nx,\n", "1: it has no multicast address that can be joined; allowed: a list of feeds"),
        ("name,group\nx,239.1.1\n", '2: x: "239.1.1" is no address'),
        ("name,group,port\n\nx,239.1.1.1,0\n", '3: x: "0" is no port'),
        ("name,group,format\nx,239.1.1.1,fast\n", '2: x: "fast" is no known format; allowed: cme-mdp3, moex-simba'),
        ("name,group\nx,239.1.1.1\0\n", "2: "),
        ("name,group,source\nx,239.1.1.1,y\n", '2: x: "y" is no address'),
        (
            "name,group,port\nx,239.1.1.1,5000\ny,239.1.1.1",
            "3: the file ends after 2 of 3 columns; allowed: a whole file",
        ),
    ],
)
def test_what_is_no_list_in_csv(made: Bench, content: str, said: str) -> None:
    assert made.refused(content, name="list.csv").startswith(said)


def test_files_that_cannot_be_read_and_wrong_usage(made: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "--feeds", "gone.xml"]) == 2
    assert (
        capsys.readouterr().err
        == "gone.xml:1: it cannot be read: No such file or directory; allowed: a readable file\n"
    )
    for arguments in ([], ["x.conf", "--feeds", "list.xml"]):
        with pytest.raises(SystemExit, match="2"):
            main(["import", *arguments])
