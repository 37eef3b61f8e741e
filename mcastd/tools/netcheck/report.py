"""What was observed on the way to a peer, and what it means. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address
from typing import Literal

from msgspec import Struct

from mcastd.config.mtu import largest_mtu
from mcastd.config.proposals import esp_of_proposal
from mcastd.tools.netcheck.packet import Answer, Ends, nat_hash

IKE, NAT_T = 500, 4500
(_ESP,) = esp_of_proposal("aes256-sha256")

Level = Literal["ok", "note", "unknown", "broken"]
"""``unknown`` is what could not be found out; ``broken`` is what keeps a tunnel from working."""

Code = Literal[
    "ec2",
    "firewall",
    "kernel",
    "kernel_lacks",
    "mtu",
    "mtu_unknown",
    "nat_confirmed",
    "nat_none",
    "nat_there",
    "nat_unconfirmed",
    "nat_unknown",
    "port_answers",
    "port_blocked",
    "port_error",
    "port_foreign",
    "port_refused",
    "port_silent",
    "userspace",
]


class PortCheck(Struct, frozen=True):
    """What came of an IKE_SA_INIT to a port: a response and after how many seconds, or an error of the network."""

    ends: Ends
    answer: Answer | None = None
    seconds: float | None = None
    error: str | None = None
    """The name of an error number, e.g. ``ECONNREFUSED``"""
    foreign: bool = False
    """Whether datagrams came from that port which are no response"""


class PathMtu(Struct, frozen=True):
    """Sizes of IP packets with DF: the largest that is answered, and the smallest above that is not.

    ``error`` is the name of the error number with which the network has ended it.
    """

    passes: int | None
    lost: int | None = None
    error: str | None = None


class Cloud(Struct, frozen=True):
    """What the metadata service of EC2 says of this machine."""

    instance_type: str
    zone: str
    public: IPv4Address | None = None


class Machine(Struct, frozen=True):
    """What was found on this machine."""

    lacks: tuple[str, ...] = ()
    """Kernel modules and programs"""
    firewalls: tuple[str, ...] = ()
    """Chains of other programs that may drop what arrives, each in words"""
    cloud: Cloud | None = None


class Finding(Struct, frozen=True):
    """One line of the report; ``code`` is stable."""

    level: Level
    code: Code
    text: str


class NetcheckReport(Struct, frozen=True):
    """What ``mcastd netcheck --json`` prints; ``schema`` rises when a key is removed or changes its meaning."""

    peer: str
    findings: tuple[Finding, ...]
    schema: int = 1


class Observed(Struct, frozen=True):
    """All that was observed. ``candidates``: where each public address that may be ours is from."""

    peer: IPv4Address
    ports: tuple[PortCheck, ...]
    mtu: PathMtu | None
    candidates: Mapping[IPv4Address, str]
    machine: Machine


def findings(observed: Observed) -> tuple[Finding, ...]:
    """The report, in the order of the path from here to the peer."""
    machine = observed.machine
    return (
        *_machine(machine),
        *(_port(check) for check in observed.ports),
        *_only_one_port(observed.ports),
        *_nat(observed),
        *_mtu(observed.mtu),
        *_firewalls(machine),
        *_cloud(observed),
    )


def _machine(machine: Machine) -> Iterator[Finding]:
    lacking = ", ".join(machine.lacks)
    if not machine.lacks:
        yield Finding("ok", "kernel", "this machine has GRE, ESP, TUN and nft")
    elif {"tun", "nft"}.isdisjoint(machine.lacks):
        text = f"this kernel has no {lacking}: GRE and ESP are done in user space, if charon has kernel-libipsec"
        yield Finding("note", "userspace", f"{text}, which costs some microseconds of CPU a packet")
    else:
        yield Finding("broken", "kernel_lacks", f"this machine has no {lacking}")


def _port(check: PortCheck) -> Finding:
    port, own = check.ends.remote_port, check.ends.local_port
    source = "" if own == port else f", asked from port {own}: {port} is another program's here, or for root alone"
    if check.answer is not None and check.seconds is not None:
        said = f": {', '.join(check.answer.errors)}" if check.answer.errors else ""
        return Finding("ok", "port_answers", f"UDP {port}: answered in {check.seconds * 1000:.1f} ms{said}{source}")
    if check.error == "ECONNREFUSED":
        text = f"UDP {port}: refused: a host is there, but nothing that listens to IKE{source}"
        return Finding("broken", "port_refused", text)
    if check.error is not None:
        return Finding(
            "broken", "port_error", f"UDP {port}: {check.error}: there is no way to the peer, or it is forbidden"
        )
    if check.foreign:
        text = (
            f"UDP {port}: what arrives from there is no answer of IKE version 2{source}: another program listens there"
        )
        return Finding("unknown", "port_foreign", f"{text}, the peer has only version 1, or it still sends ESP")
    return Finding(
        "unknown",
        "port_silent",
        f"UDP {port}: no answer: blocked on the way, or the peer ignores unknown senders{source}",
    )


def _only_one_port(checks: Sequence[PortCheck]) -> Iterator[Finding]:
    """A peer that answers on one port and not on the other: it does not ignore unknown senders."""
    answered = {check.ends.remote_port for check in checks if check.answer is not None}
    silent = {
        check.ends.remote_port for check in checks if check.answer is None and check.error is None and not check.foreign
    }
    for port in silent if answered else ():
        yield Finding(
            "broken",
            "port_blocked",
            f"UDP {port} is blocked on the way: the peer answers on {', '.join(map(str, answered))}",
        )


def _nat(observed: Observed) -> Iterator[Finding]:
    detected = [check for check in observed.ports if check.answer is not None and check.answer.destination_hashes]
    if not detected:
        if any(check.answer is not None for check in observed.ports):
            text = "the peer has refused, so its answer does not say whether there is a NAT, or which address is public"
            yield Finding("unknown", "nat_unknown", text)
        return
    check = detected[0]
    assert check.answer is not None
    yield _nat_here(check, check.answer, observed.candidates)
    theirs = nat_hash(check.answer.spi_i, check.answer.spi_r, observed.peer, check.ends.remote_port)
    if theirs not in check.answer.source_hashes:
        text = "the peer is behind a NAT itself (its remote_id may be another address), or forces ESP into UDP"
        yield Finding("note", "nat_there", text)


def _nat_here(check: PortCheck, answer: Answer, candidates: Mapping[IPv4Address, str]) -> Finding:
    ends = check.ends
    if nat_hash(answer.spi_i, answer.spi_r, ends.local, ends.local_port) in answer.destination_hashes:
        return Finding("ok", "nat_none", f"no NAT: the peer sees {ends.local}")
    for address, origin in candidates.items():
        port = _port_seen(answer, address, ends.local_port)
        if port is not None:
            moved = "" if port == ends.local_port else f", and port {port} for {ends.local_port}"
            text = (
                f'NAT: the peer sees {address} ({origin}){moved}; write local_id = "{address}", local = "{ends.local}"'
            )
            return Finding("ok", "nat_confirmed", text)
    tried = ", ".join(f"{address} ({origin})" for address, origin in candidates.items())
    others = f"; it is none of {tried}" if tried else "; name the address with --public to have it confirmed"
    return Finding("unknown", "nat_unconfirmed", f"NAT: the peer sees another address than {ends.local}{others}")


def _port_seen(answer: Answer, address: IPv4Address, own: int) -> int | None:
    """The source port that the peer saw, if it saw this address: a NAT may have chosen any."""
    ports: Iterable[int] = (own, *range(1, 65536))
    hashes = answer.destination_hashes
    return next((port for port in ports if nat_hash(answer.spi_i, answer.spi_r, address, port) in hashes), None)


def _mtu(mtu: PathMtu | None) -> Iterator[Finding]:
    if mtu is None:
        return
    if mtu.error is not None:
        text = f"the path's MTU is not known: {mtu.error} after a request of {mtu.lost} bytes"
        yield Finding("unknown", "mtu_unknown", text)
        return
    if mtu.passes is None:
        text = f"the path's MTU is not known: no padded request of {mtu.lost} bytes or more was answered"
        yield Finding("unknown", "mtu_unknown", text)
        return
    inner = largest_mtu(mtu.passes, _ESP)
    text = f"packets of {mtu.passes} bytes get to the peer"
    if mtu.lost is not None:
        text += f", of {mtu.lost} not"
    yield Finding(
        "ok" if mtu.lost is None else "note",
        "mtu",
        f"{text}: a tunnel has an MTU of {inner} (GRE in AES-CBC ESP in UDP)",
    )


def _firewalls(machine: Machine) -> Iterator[Finding]:
    for chain in machine.firewalls:
        yield Finding("note", "firewall", f"{chain}: UDP 500 and 4500, and ESP, must be accepted there from the peer")


def _cloud(observed: Observed) -> Iterator[Finding]:
    if (cloud := observed.machine.cloud) is not None:
        text = (
            f"this is EC2, {cloud.instance_type} in {cloud.zone}: its security group must allow UDP 500 and 4500 from"
        )
        yield Finding("note", "ec2", f"{text} {observed.peer}/32, in both directions")
