"""What each stage lost, from two readings of its counters, and what follows. Pure.

The field names are the keys of the JSON of ``mcastd bench``, and stay stable.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, Literal

from msgspec import Struct

from mcastd.tools.bench.plan import LINK, TUNNEL, Buffer, Burst, Counts, Sent, memory

Name = Literal["network_card", "softnet", "firewall", "esp", "gre", "udp", "receive_buffer"]
Datapath = Literal["kernel", "userspace"]

STAGES: Final[tuple[Name, ...]] = ("softnet", "esp", "gre", "udp", "receive_buffer")
"""Those that can be measured, in the order of the path."""

_LATE: Final = 1.05  # times the duration that was asked for, from which on it was not reached
_SLACK: Final = 0.002  # seconds: that a system takes to wake a process
# The counters of each stage, and the names of their reasons. That of softnet is of the whole host, and all its traffic.
_REASONS: Final[Mapping[str, Mapping[str, str]]] = {
    "softnet": {"softnet//dropped": "backlog_full"},
    "udp": {
        "host//reverse_path_filter": "reverse_path_filter",
        "Ip/InDiscards": "ip_discarded",
        "Ip/InHdrErrors": "ip_header",
        "Ip/InAddrErrors": "ip_address",
        "Udp/NoPorts": "no_port",
        "Udp/InCsumErrors": "checksum",
    },
    "receive_buffer": {"Udp/RcvbufErrors": "full", "Udp/MemErrors": "udp_mem"},
}
# Of those the names follow the last slash.
_PREFIXES: Final[Mapping[str, tuple[str, ...]]] = {"esp": ("esp//",), "gre": ("pump/", f"interface/{TUNNEL}/")}


class Stage(Struct, frozen=True, kw_only=True):
    """``arrived`` packets at a stage, of which ``lost`` did not get to the next one, by ``reasons`` that are counted.

    Both are None where it was not measured; ``why`` it was not.
    """

    stage: Name
    arrived: int | None = None
    lost: int | None = None
    reasons: dict[str, int] = {}
    why: str | None = None


class Run(Struct, frozen=True, kw_only=True):
    """All bursts with one receive buffer and one reader, which stalls ``stall`` seconds at the first packet of each.

    ``receive_buffer_asked`` is what an application asks for (None: nothing), ``forced`` where ``net.core.rmem_max``
    does not allow it; ``receive_buffer`` is what the kernel made of it, and ``most`` what of that was seen in use
    (bytes). ``took`` (seconds) is the slowest burst, ``late`` how late a packet left at most.
    """

    receive_buffer_asked: int | None
    forced: bool
    receive_buffer: int
    most: int
    stall: float
    sent: int
    refused: int
    took: float
    late: float
    pace_reached: bool
    stages: tuple[Stage, ...]
    received: int
    lost: int


class BenchReport(Struct, frozen=True, kw_only=True):
    """All of it. ``lost``: the chosen receive buffer lost packets with a reader, or what was chosen was not sent.

    ``cloud_limits`` are what the hypervisor has dropped at its limits (ENA) since the cards came up, of the host's own
    traffic.
    """

    schema: int = 1
    burst: Burst
    cpus: int
    datapath: Datapath
    esp: bool
    rmem_default: int
    rmem_max: int
    chosen: int | None
    lost: bool
    advice: tuple[str, ...]
    not_measured: tuple[Stage, ...]
    runs: tuple[Run, ...]
    cloud_limits: dict[str, int]


def not_measured(without_rps: str | None, without_esp: str | None) -> tuple[Stage, ...]:
    """The stages of a real path that are not on this one, for what the kernel said where it refused something."""
    found = [
        Stage(
            stage="network_card",
            why="the packets come from none: its ring and the limits of a cloud are not there",
        ),
        Stage(stage="firewall", why="nftables rules and connection tracking of this host are not in the namespace"),
    ]
    if without_rps is not None:
        found.append(Stage(stage="softnet", why=f"the sender's own CPU receives what it sends ({without_rps})"))
    if without_esp is not None:
        found.append(Stage(stage="esp", why=f"this kernel has no ESP with AES-CBC and HMAC-SHA256 ({without_esp})"))
    return tuple(found)


def stages(before: Counts, after: Counts, sent: int, has_esp: bool) -> tuple[Stage, ...]:
    """The stages between the sender and the application, each from what arrived at it and at the next one."""
    grown = {name: count - before.counters.get(name, 0) for name, count in after.counters.items()}
    received = after.received - before.received
    arrived: dict[Name, int] = {"softnet": sent, "esp": grown.get(f"dev/{LINK}", 0), "gre": grown.get("esp", 0)}
    if not has_esp:
        arrived["gre"] = arrived.pop("esp")
    arrived |= {"udp": grown.get(f"dev/{TUNNEL}", 0), "receive_buffer": received + after.dropped - before.dropped}
    passed = [*list(arrived.values())[1:], received]
    return tuple(_stage(name, count, left, grown) for (name, count), left in zip(arrived.items(), passed, strict=True))


def is_settled(found: Iterable[Stage]) -> bool:
    """Whether nothing is on its way: a counter has a reason for all that is missing."""
    return all(one.lost is not None and one.lost <= sum(one.reasons.values()) for one in found)


def run(burst: Burst, buffer: Buffer, stall: float, sent: Sent, before: Counts, after: Counts, has_esp: bool) -> Run:
    """The figures of one run."""
    received = after.received - before.received
    return Run(
        receive_buffer_asked=buffer.asked,
        forced=buffer.forced,
        receive_buffer=after.size,
        most=after.most,
        stall=stall,
        sent=sent.packets,
        refused=sent.refused,
        took=sent.took,
        late=sent.late,
        pace_reached=not sent.refused and sent.took <= burst.within * _LATE + _SLACK,
        stages=stages(before, after, sent.packets, has_esp),
        received=received,
        lost=burst.total - received,
    )


def has_lost(runs: Iterable[Run], chosen: int | None) -> bool:
    """Whether something did not arrive with the chosen receive buffer, or was not sent at the pace asked for."""
    return any(one.lost or not one.pace_reached for one in runs if one.receive_buffer_asked == chosen)


def advice(burst: Burst, runs: tuple[Run, ...], allowed: int) -> Iterator[str]:
    """What follows, a line for each thing, where ``net.core.rmem_max`` is ``allowed``."""
    if slow := [one for one in runs if not one.pace_reached]:
        most = max(one.took for one in slow)
        yield (
            f"the sender did not reach the pace in {len(slow)} of {len(runs)} runs ({most * 1e3:,.0f} ms instead of "
            f"{burst.within * 1e3:,.0f} at worst): this host is too slow for that, or busy; at pace more may be lost"
        )
    largest = max(runs, key=lambda one: one.receive_buffer)
    for stage in largest.stages:
        if stage.stage != "receive_buffer" and stage.lost:
            yield f"{stage.lost:,} of {largest.sent:,} packets are lost before any socket, in {_WHERE[stage.stage]}"
    yield _buffer(runs, allowed)


def _stage(name: Name, arrived: int, passed: int, grown: Mapping[str, int]) -> Stage:
    if passed > arrived:
        return Stage(stage=name, why=f"{arrived:,} packets arrived there, and {passed:,} behind it")
    reasons = {reason: grown.get(counter, 0) for counter, reason in _REASONS.get(name, {}).items()}
    for prefix in _PREFIXES.get(name, ()):
        reasons |= {key.removeprefix(prefix): count for key, count in grown.items() if key.startswith(prefix)}
    reasons = {reason: count for reason, count in reasons.items() if count}
    return Stage(stage=name, arrived=arrived, lost=arrived - passed, reasons=reasons)


_WHERE: Final[Mapping[Name, str]] = {
    "softnet": "softnet: a CPU's backlog (net.core.netdev_max_backlog) is short, or the CPU slow for IPsec and GRE",
    "esp": "ESP",
    "gre": "GRE (in user space each packet takes some 10 us of a CPU; the kernel module ip_gre does not need them)",
    "udp": "IP and UDP",
}


def _buffer(runs: Iterable[Run], allowed: int) -> str:
    """Which receive buffer is large enough, as far as that was seen."""
    sizes = dict[int | None, list[Run]]()
    for one in runs:
        sizes.setdefault(one.receive_buffer_asked, []).append(one)
    full = {size for size, some in sizes.items() if any(one.stages[-1].lost != 0 for one in some)}
    for asked, some in sizes.items():
        if all(one.pace_reached and not one.lost for one in some):
            return _carried(asked, max(one.most for one in some), full, allowed)
    if left := [size for size in sizes if size not in full]:
        return (
            f"{_size(left[0])} dropped nothing of what reached it: less than the burst, or slower. That shows nothing"
        )
    return f"{_size([*sizes][-1])} is too small for this burst, too: the reader is too slow, or stalls for too long"


def _carried(asked: int | None, most: int, full: Collection[int | None], allowed: int) -> str:
    """``full``: those that were too small."""
    known = {allowed: f"net.core.rmem_max {allowed}", None: "net.core.rmem_default"}
    small = next((name for size, name in known.items() if size in full), None)
    seen = f"(at most {memory(most)} of it were seen in use)"
    found = f"{_size(asked)} carried this burst {seen}"
    if small is not None:
        found = f"{small} is too small for this burst: {_size(asked)} carried it {seen}"
    if asked is None or asked > allowed:
        return found
    return f"{found}; an application has to ask for it (SO_RCVBUF), which net.core.rmem_max {allowed} allows"


def _size(asked: int | None) -> str:
    return "the default receive buffer (net.core.rmem_default)" if asked is None else memory(asked)
