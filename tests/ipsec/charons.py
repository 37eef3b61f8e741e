"""Two private charons in namespaces of their own, one veth pair between them: the cloud's and the data centre's.

The charons' VICI sockets are files, so the agent under test runs where the test does and changes nothing there.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import msgspec

from mcastd.config.credentials import Certificates
from mcastd.config.model import Child, Peer
from mcastd.errors import ViciRefused, ViciUnavailable
from mcastd.ipsec import charon as charon_seam
from mcastd.ipsec.credentials import authorities, private_key, shared_key
from mcastd.ipsec.messages import PeerWithKey, connection, terminate
from mcastd.ipsec.sas import IkeSa
from mcastd.ipsec.vici import ViciSocket

PSK = b"correct horse battery staple"
CLOUD, DC = "222.45.67.1", "177.54.214.20"
DEADLINE = 60.0

PLUGINS = "random nonce openssl aes sha1 sha2 hmac kdf gmp pem pkcs1 x509 pubkey constraints"
CHARON_CONF = """
charon-systemd {{
  load = {plugins} kernel-netlink socket-default updown vici
  retransmit_timeout = {retransmit_timeout}
  retransmit_tries = 3
  make_before_break = {make_before_break}
  filelog {{
    log {{
      path = {log}
      default = 1
      flush_line = yes
    }}
  }}
  plugins {{
    vici {{
      socket = unix://{socket}
    }}
  }}
}}
"""


def ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True, capture_output=True)


class Charon:
    """One charon in one namespace."""

    def __init__(
        self,
        folder: Path,
        namespace: str,
        retransmit_timeout: float = 4.0,
        *,
        kernel_esp: bool = False,
        make_before_break: bool = False,
    ) -> None:
        self.namespace = namespace
        self.socket = folder / f"{namespace}.vici"
        self.log = folder / f"{namespace}.log"
        self._conf = folder / f"{namespace}.conf"
        plugins = PLUGINS if kernel_esp else f"{PLUGINS} kernel-libipsec"
        self._conf.write_text(
            CHARON_CONF.format(
                plugins=plugins,
                log=self.log,
                socket=self.socket,
                retransmit_timeout=retransmit_timeout,
                make_before_break="yes" if make_before_break else "no",
            )
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            ("ip", "netns", "exec", self.namespace, "/usr/sbin/charon-systemd"),
            env={**os.environ, "STRONGSWAN_CONF": str(self._conf)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int | None:
        """The process, while it runs and has not crashed."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait_ready(self) -> None:
        asyncio.run(self._ready())

    async def _ready(self) -> None:
        end = time.monotonic() + DEADLINE
        while True:
            try:
                (await ViciSocket(self.socket).connect()).close()
                return
            except ViciUnavailable:
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            try:
                self._process.wait(3)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self.socket.unlink(missing_ok=True)


class Scene:
    """The cloud's charon, the data centre's, and what the data centre is configured with."""

    def __init__(self, folder: Path, tag: str, *, make_before_break: bool = False) -> None:
        self.cloud = Charon(folder, f"mcastd-test-{tag}-cloud", make_before_break=make_before_break)
        self.dc = Charon(folder, f"mcastd-test-{tag}-dc")
        self.folder = folder

    def build(self) -> None:
        cloud, dc = self.cloud.namespace, self.dc.namespace
        for name in (cloud, dc):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", cloud, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", dc)
        for name, outer, inner, far in (
            (cloud, CLOUD, ("10.44.6.1/32", "10.45.8.17/28"), DC),
            (dc, DC, ("10.44.7.1/32", "100.15.30.253/24"), CLOUD),
        ):
            ip("-n", name, "addr", "add", f"{outer}/32", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "route", "add", f"{far}/32", "dev", "eth0")
            for address in inner:
                ip("-n", name, "addr", "add", address, "dev", "lo")
        self.cloud.start()
        self.dc.start()
        self.cloud.wait_ready()
        self.dc.wait_ready()

    def remove(self) -> None:
        for charon in (self.cloud, self.dc):
            charon.stop(signal.SIGKILL)
            subprocess.run(("ip", "netns", "del", charon.namespace), check=False, capture_output=True)


def gre(**changes: object) -> Child:
    fields: dict[str, object] = {
        "name": "dc-tun-gre",
        "local_ts": IPv4Network("10.44.6.1/32"),
        "remote_ts": IPv4Network("10.44.7.1/32"),
        "proposals": ("aes256-sha256-modp2048",),
    }
    return Child(**{**fields, **changes})  # type: ignore[arg-type]  # a test passes what the struct takes


def tcp(**changes: object) -> Child:
    fields: dict[str, object] = {
        "name": "dc-tun-tcp",
        "local_ts": IPv4Network("10.45.8.16/28"),
        "remote_ts": IPv4Network("100.15.30.0/24"),
        "proposals": ("aes256-sha256-modp2048",),
    }
    return Child(**{**fields, **changes})  # type: ignore[arg-type]  # a test passes what the struct takes


def article(**changes: object) -> Peer:
    """The article's peer, as the cloud sees it."""
    fields: dict[str, object] = {
        "name": "dc",
        "local": IPv4Address(CLOUD),
        "remote": IPv4Address(DC),
        "local_id": CLOUD,
        "remote_id": DC,
        "psk_file": Path("/nonexistent"),
        "proposals": ("aes256-sha256-modp2048",),
        "children": (gre(), tcp()),
    }
    return Peer(**{**fields, **changes})  # type: ignore[arg-type]  # a test passes what the struct takes


def mirrored(peer: Peer) -> Peer:
    """The same peer as the other side sees it."""
    children = tuple(msgspec.structs.replace(c, local_ts=c.remote_ts, remote_ts=c.local_ts) for c in peer.children)
    return msgspec.structs.replace(
        peer,
        name="cloud",
        local=peer.remote,
        remote=peer.local,
        local_id=peer.remote_id,
        remote_id=peer.local_id,
        children=children,
    )


async def load(charon: Charon, peer: Peer, psk: bytes = PSK, certificates: Certificates | None = None) -> None:
    """What an administrator would do with swanctl."""
    control = await ViciSocket(charon.socket).connect()
    desired = PeerWithKey(peer, psk if certificates is None else None, certificates)
    if certificates is None:
        await control.command("load-shared", shared_key(desired))
    else:
        await control.command("load-key", private_key(certificates))
        for authority in authorities(desired).values():
            await control.command("load-authority", authority)
    await control.command("load-conn", connection(desired))
    control.close()


async def list_sas(charon: Charon) -> tuple[IkeSa, ...]:
    control = await ViciSocket(charon.socket).connect()
    try:
        return await charon_seam.list_sas(control)
    finally:
        control.close()


async def list_conns(charon: Charon) -> frozenset[str]:
    control = await ViciSocket(charon.socket).connect()
    try:
        return frozenset(await charon_seam.list_conns(control))
    finally:
        control.close()


async def list_shared(charon: Charon) -> list[bytes]:
    return await _listed(charon, "get-shared", "keys")


async def list_keys(charon: Charon) -> list[bytes]:
    return await _listed(charon, "get-keys", "keys")


async def list_authorities(charon: Charon) -> list[bytes]:
    return await _listed(charon, "get-authorities", "authorities")


async def local_selectors(charon: Charon) -> list[bytes]:
    """Our traffic selectors of all CHILD_SAs, as charon writes them."""
    sections: list[Any] = []
    control = await ViciSocket(charon.socket).connect()
    await control.command("list-sas", stream="list-sa", on_event=lambda _, section: sections.append(section))
    control.close()
    sas = [sa for section in sections for sa in section.values()]
    return [selector for sa in sas for child in sa["child-sas"].values() for selector in child["local-ts"]]


async def _listed(charon: Charon, name: str, key: str) -> list[bytes]:
    control = await ViciSocket(charon.socket).connect()
    found = (await control.command(name)).get(key, [])
    control.close()
    assert isinstance(found, list)
    return found


async def command(charon: Charon, name: str, message: dict[str, object]) -> None:
    control = await ViciSocket(charon.socket).connect()
    try:
        await control.command(name, message)
    finally:
        control.close()


async def until(condition: Callable[[], bool], what: str, deadline: float = DEADLINE) -> None:
    """Wait for something real to happen."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, f"not within {deadline} s: {what}"
        await asyncio.sleep(0.01)


async def clean(charon: Charon) -> None:
    """Take everything down, whoever made it."""
    async with asyncio.timeout(DEADLINE):
        for name in await list_conns(charon):
            await command(charon, "unload-conn", {"name": name})
        await command(charon, "clear-creds", {})
        for authority in await list_authorities(charon):
            await command(charon, "unload-authority", {"name": authority})
        while sas := await list_sas(charon):
            for sa in sas:
                with contextlib.suppress(ViciRefused):
                    await command(charon, "terminate", terminate({"ike-id": sa.uniqueid}, 1.0, force=True))
