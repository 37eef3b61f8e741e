"""Which of several pre-shared keys charon takes: asked of a real one, against what the importer says."""

import asyncio
from pathlib import Path

import pytest

from mcastd.errors import ViciRefused
from mcastd.ipsec.vici import ViciSocket
from mcastd.tools.importer.draft import Notes
from mcastd.tools.importer.keys import Secret, choose
from mcastd.tools.importer.secrets import parse
from tests.ipsec.charons import CLOUD, DC, Charon, Scene

NAME, THEIRS, MAIL = "vm.example.com", "dc.example.com", "vm@example.com"
DN = "C=CH, O=Example, CN=dc"
TABLE = [
    # ours, theirs, entries in the order of loading
    (CLOUD, DC, '%any %any : PSK "generic"\n{DC} : PSK "theirs"'),
    (CLOUD, DC, '{DC} : PSK "theirs"\n%any %any : PSK "generic"'),
    (CLOUD, DC, ': PSK "generic"\n{CLOUD} {DC} : PSK "both"\n: PSK "last"'),
    (CLOUD, DC, '10.1.1.246 {DC} : PSK "old"\n{CLOUD} {DC} : PSK "new"'),
    (CLOUD, DC, '{CLOUD} {DC} : PSK "one"\n{CLOUD} {DC} : PSK "two"'),
    (CLOUD, DC, '{CLOUD} {DC} : PSK "one"\n{DC} {CLOUD} : PSK "two"\n{CLOUD} {DC} : PSK "one"'),
    (CLOUD, DC, '{CLOUD} : PSK "ours"\n{DC} : PSK "theirs"'),
    (CLOUD, DC, '{CLOUD} : PSK "ours"\n%any : PSK "any"'),
    (CLOUD, DC, '{CLOUD} 203.0.113.9 : PSK "ours"\n%any : PSK "any"'),
    (CLOUD, DC, '{CLOUD} %any : PSK "ours"\n%any {DC} : PSK "theirs"'),
    (CLOUD, DC, '177.54.214.0/24 : PSK "net"\n177.54.0.0/16 : PSK "wider"'),
    (CLOUD, DC, '177.54.214.0/24 : PSK "net"\n{DC} : PSK "host"\n177.54.214.1-177.54.214.99 : PSK "range"'),
    (CLOUD, DC, '0.0.0.0/0 : PSK "all"\n%any : PSK "any"\n0.0.0.0 : PSK "zero"'),
    (CLOUD, DC, '{DC}/32 : PSK "net"\n177.54.214.20-177.54.214.20 : PSK "range"\n{CLOUD} {DC}/32 : PSK "both"'),
    (CLOUD, DC, '%any4 : PSK "a name"\n%any6 : PSK "any"\nfe80::1 : PSK "six"'),
    (NAME, THEIRS, '@dc.example.com : PSK "at"\n*.example.com : PSK "wild"'),
    (NAME, THEIRS, 'dc.example.com : PSK "plain"\nVM.Example.COM DC.example.com : PSK "capitals"'),
    (NAME, THEIRS, '*.example.com : PSK "wild"\n%any : PSK "any"\n* : PSK "star"'),
    (MAIL, THEIRS, '{MAIL} : PSK "mail"\n@vm.example.com : PSK "name"\nfqdn:dc.example.com : PSK "typed"'),
    (MAIL, THEIRS, '{MAIL} dc.example.com : PSK "both"\ndc.example.com : PSK "theirs"\n@@{MAIL} : PSK "twice"'),
    (CLOUD, "*.example.com", 'dc.example.com : PSK "theirs"\n{CLOUD} : PSK "ours"\n203.0.113.9 : PSK "another"'),
    (CLOUD, "*.example.com", 'dc.example.com : PSK "theirs"\n%any : PSK "any"\n{CLOUD} 203.0.113.9 : PSK "ours"'),
    ("@#6d65", DC, '@#6d65 {DC} : PSK "key id"\n{DC} : PSK "theirs"'),
    ("keyid:me", DC, '%any {DC} : PSK "any"\nkeyid:me {DC} : PSK "key id"\n{DC} keyid:you : PSK "another"'),
    (CLOUD, DN, '"C=CH, O=Example, CN=*" : PSK "wild"\n%any : PSK "any"'),
    (CLOUD, DN, '"C=CH, O=Example, CN=*" : PSK "wild"\n"C=CH,O=example,CN=dc" : PSK "whole"\n"CN=dc" : PSK "less"'),
]

BY_ADDRESS = [
    (NAME, THEIRS, '{CLOUD} {DC} : PSK "addresses"\nelsewhere.example.com : PSK "another"'),
    (NAME, THEIRS, '{CLOUD} {DC} : PSK "addresses"\n%any dc.example.com : PSK "name"'),
    (NAME, "%any", '{CLOUD} {DC} : PSK "addresses"\n203.0.113.9 : PSK "another"'),
    (NAME, "%any", '{DC} : PSK "address"\nvm.example.com : PSK "ours"'),
    (CLOUD, DC, '{CLOUD} {DC} : PSK "addresses"\n{DC} : PSK "theirs"'),
    (CLOUD, "*.example.com", '{DC} : PSK "address"\n*.example.com : PSK "wild"'),
]


def entries(text: str) -> tuple[Secret, ...]:
    text = text.replace("{CLOUD}", CLOUD).replace("{DC}", DC).replace("{MAIL}", MAIL)
    return parse(text, Notes(), Path("ipsec.secrets")).shared


OWNERS = ("", "{CLOUD}", "{DC}", "{CLOUD} {DC}", "%any", "%any {DC}", "{CLOUD} %any", "177.54.0.0/16", "203.0.113.9")
PAIRS = [
    (CLOUD, DC, f'{one} : PSK "first"\n{other} : PSK "second"') for one in OWNERS for other in OWNERS if one or other
]


async def request(charon: Charon, *commands: tuple[str, dict[str, object]]) -> None:
    control = await ViciSocket(charon.socket).connect()
    try:
        for name, message in commands:
            await control.command(name, message)
    finally:
        control.close()


def connection(version: int, ends: tuple[tuple[str, str], tuple[str, str]]) -> dict[str, object]:
    (local, ours), (remote, theirs) = ends
    common = {"version": str(version), "proposals": ["aes256-sha256-ecp256"], "unique": "never"}
    end = {"local_addrs": [local], "remote_addrs": [remote]}
    return {"one": common | end | {"local": {"auth": "psk", "id": ours}, "remote": {"auth": "psk", "id": theirs}}}


def shared(at: int, secret: Secret) -> dict[str, object]:
    return {"id": f"key-{at}", "type": "IKE", "data": secret.key, "owners": list(secret.ids) or ["%any"]}


async def comes_up_with(
    scene: Scene, version: int, ours: str, theirs: str, keys: tuple[Secret, ...], only: bytes, patience: float = 10.0
) -> bool:
    """Whether the cloud, which has all keys, can authenticate itself to a data centre that has ``only`` one."""
    here, there = (CLOUD, ours), (DC, theirs)
    name = theirs.replace("*", "dc")
    clear: tuple[str, dict[str, object]] = ("clear-creds", {})
    known = [("load-shared", shared(at, secret)) for at, secret in enumerate(keys)]
    await request(scene.cloud, clear, *known, ("load-conn", connection(version, (here, there))))
    known = [("load-shared", shared(0, Secret((), only)))]
    await request(scene.dc, clear, *known, ("load-conn", connection(version, ((DC, name), (CLOUD, "%any")))))
    try:
        await request(scene.cloud, ("initiate", {"ike": "one", "timeout": f"{1000 * patience:.0f}", "loglevel": "-1"}))
    except ViciRefused:
        return False
    await request(scene.cloud, ("terminate", {"ike": "one", "timeout": "1000", "force": "yes"}))
    return True


def test_the_key_that_the_importer_says_is_the_one_that_charon_takes(scene: Scene) -> None:
    async def disagreements() -> list[str]:
        found = []
        for version, (ours, theirs, text) in [(2, row) for row in TABLE + PAIRS] + [(1, row) for row in BY_ADDRESS]:
            keys = entries(text)
            if "203.0.113.9" in text and not any(key.rank(ours) or key.rank(theirs) for key in keys):
                continue
            taken = choose(keys, ours, theirs, addresses=(CLOUD, DC) if version == 1 else None).taken
            if taken is None or not await comes_up_with(scene, version, ours, theirs, keys, taken.key):
                found.append(f"IKEv{version} {ours} {theirs}: charon does not take {taken} of\n{text}")
        return found

    assert asyncio.run(disagreements()) == []


@pytest.mark.parametrize("version", [1, 2])
def test_another_key_does_not_come_up(scene: Scene, version: int) -> None:
    ours, theirs, text = TABLE[0]
    keys = entries(text)
    assert asyncio.run(comes_up_with(scene, version, ours, theirs, keys, b"theirs"))
    assert not asyncio.run(comes_up_with(scene, version, ours, theirs, keys, b"generic", 0.5))
