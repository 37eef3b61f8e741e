"""docs/configuration.md and etc/mcastd.toml say what the schema says; ./dev docs writes it into them."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from mcastd.config.model import Config
from mcastd.config.schema import keys

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "packaging" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_up_to_date(made: ModuleType) -> None:
    text = made.REFERENCE.read_text()
    assert made.reference(text) == text, "run ./dev docs"


def test_the_table_of_metrics_is_up_to_date(made: ModuleType) -> None:
    text = made.MONITORING.read_text()
    assert made.monitoring(text) == text, "run ./dev docs"


def test_the_example_is_up_to_date(made: ModuleType) -> None:
    text = made.EXAMPLE.read_text()
    assert made.example(text) == text, "run ./dev docs"
    assert max(map(len, text.splitlines())) <= 120


def test_the_example_has_every_key(made: ModuleType) -> None:
    found = made.keys_of_example(made.EXAMPLE.read_text())
    for _, struct in made.sections():
        assert {key.name for key in keys(struct) if not key.holds} <= {name for table, name in found if table is struct}


def test_what_changes_in_the_schema_changes_both(made: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "help_of", lambda key: f"help of {key.name}")
    for text in (made.reference(made.REFERENCE.read_text()), made.example(made.EXAMPLE.read_text())):
        assert "help of replay_window" in text
        assert "how many packets late" not in text


def test_every_table_and_key_is_described_in_one_line(made: ModuleType) -> None:
    for _, struct in [("", Config), *made.sections()]:
        for key in keys(struct):
            if struct is not Config:
                assert made.help_of(key)
                assert "\n" not in made.help_of(key)


def test_every_section_is_named(made: ModuleType) -> None:
    assert [header for header, _ in made.sections()] == [
        "[daemon]",
        "[firewall]",
        "[streams]",
        "[metrics]",
        "[peers.NAME]",
        "[peers.NAME.children.NAME]",
        "[tunnels.NAME]",
        "[tunnels.NAME.keepalive]",
        "[tunnels.NAME.pim]",
        "[[tunnels.NAME.pim.rp]]",
        "[paths]",
        "[[groups]]",
        "[[feeds]]",
        "[forward.NAME]",
        "[overlay.NAME]",
    ]
