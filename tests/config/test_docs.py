"""The reference names every key of the model, in its own section, and no others."""

import re
from pathlib import Path

import msgspec
import pytest

from mcastd.config.convert import KINDS
from mcastd.config.model import Child, Daemon, Firewall, Group, Keepalive, Peer, Pim, RpRange, Tunnel
from mcastd.net.gre import GreOptions

REFERENCE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
SECTIONS: list[tuple[str, type[msgspec.Struct]]] = [
    ("[daemon]", Daemon),
    ("[firewall]", Firewall),
    ("[peers.NAME]", Peer),
    ("[peers.NAME.children.NAME]", Child),
    ("[tunnels.NAME]", Tunnel),
    ("[tunnels.NAME.keepalive]", Keepalive),
    ("[tunnels.NAME.pim]", Pim),
    ("[[tunnels.NAME.pim.rp]]", RpRange),
    ("[[groups]]", Group),
]

FILLED_IN = {(Group, "tunnel"), (Child, "local_ts"), (Child, "remote_ts"), (Tunnel, "local"), (Tunnel, "remote")}


def rows(section: str) -> dict[str, list[str]]:
    _, _, rest = REFERENCE.partition(f"\n## `{section}`\n")
    body = rest.partition("\n## ")[0]
    cells = (re.split(r" \| ", line.strip("| ")) for line in body.splitlines() if line.startswith("| `"))
    return {key.strip("`"): others for key, *others in cells}


def keys_of(struct: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    flat = (*msgspec.structs.fields(struct), *(msgspec.structs.fields(GreOptions) if struct is Tunnel else ()))
    return {field.name: field for field in flat if field.name not in ("name", "gre")}


@pytest.mark.parametrize(("section", "struct"), SECTIONS)
def test_every_key_is_described(section: str, struct: type[msgspec.Struct]) -> None:
    fields = keys_of(struct)
    described = rows(section)
    assert set(described) == set(fields)
    for name, field in fields.items():
        optional = not field.required or (struct, name) in FILLED_IN
        assert (described[name][1] == "required") is not optional, name


@pytest.mark.parametrize(("section", "struct"), SECTIONS)
def test_the_defaults_are_the_models(section: str, struct: type[msgspec.Struct]) -> None:
    for field in msgspec.structs.fields(struct):
        kind, cell = KINDS[struct].get(field.name), rows(section).get(field.name, ["", ""])[1]
        if kind is None or field.required or cell == "none" or not isinstance(field.default, str | int | float):
            continue
        written = cell.strip("`")
        plain = written.strip('"')
        value: object = {"true": True, "false": False}.get(plain, plain)
        if isinstance(field.default, float | int) and not isinstance(field.default, bool):
            seconds = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
            match = re.fullmatch(r"([\d.]+)(ms|s|m|h)?", plain)
            assert match, field.name
            value = float(match[1]) * seconds.get(match[2] or "s", 1)
        assert value == field.default, field.name


def test_every_field_of_a_struct_is_a_key_or_nested() -> None:
    nested = {"name", "children", "gre", "keepalive", "pim", "rp"}
    for struct, kinds in KINDS.items():
        assert set(kinds) == {field.name for field in msgspec.structs.fields(struct)} - nested
