"""What a burst has lost, for people."""

from collections.abc import Iterator, Mapping
from typing import Final

from mcastd.cli import units
from mcastd.cli.layout import Block, Cell, Column, Row, Table, Text
from mcastd.tools.bench.plan import memory
from mcastd.tools.bench.report import STAGES, BenchReport, Name, Run

_NAMES: Final[Mapping[Name, str]] = {
    "network_card": "network card",
    "softnet": "softnet",
    "firewall": "firewall",
    "esp": "ESP",
    "gre": "GRE",
    "udp": "UDP",
    "receive_buffer": "buffer",
}
_DATAPATHS: Final = {"kernel": "the kernel's GRE", "userspace": "GRE in user space"}


def blocks(found: BenchReport) -> Iterator[Block]:
    """All of it: what was sent, what each stage lost, what is not measured, what follows."""
    yield Text(_sent(found))
    yield Text()
    columns = [Column("receive buffer"), Column("reader"), Column("sent in", right=True)]
    columns += [Column(_NAMES[name], right=True) for name in STAGES]
    columns += [Column("received", right=True, rank=1), Column("most in use", right=True, rank=2)]
    left_out = {one.stage for one in found.not_measured}
    yield Table(tuple(columns), [_row(found, one, left_out) for one in found.runs])
    yield Text()
    late = units.short(max(one.late for one in found.runs))
    yield Text(f"The sender was {late} behind its plan at most; what was due by then left at once.", "dim")
    yield from map(Text, dict.fromkeys(_reasons(found)))
    yield from (Text(f"{_NAMES[one.stage]}: not measured: {one.why}", "dim") for one in found.not_measured)
    limits = [f"{name} {units.count(count)}" for name, count in found.cloud_limits.items() if count]
    if limits:
        yield Text(
            f"the cloud has dropped packets of this host at its limits since it came up: {', '.join(limits)}", "warn"
        )
    yield Text()
    yield from (Text(line, "bad" if found.lost else "good") for line in found.advice)


def _sent(found: BenchReport) -> str:
    burst = found.burst
    ways = f"{_DATAPATHS[found.datapath]}{', ESP' if found.esp else ''}"
    return (
        f"Lost at each stage, of {burst.bursts} x {units.count(burst.packets)} packets of {burst.size} bytes within "
        f"{units.short(burst.within)} ({units.rate(burst.packets / burst.within)}); {ways}, "
        f"{found.cpus} CPU{'s' if found.cpus > 1 else ''}:"
    )


def _row(found: BenchReport, run: Run, left_out: set[Name]) -> Row:
    asked = run.receive_buffer_asked
    size = memory(found.rmem_default if asked is None else asked)
    name = " (default)" if asked is None else " (rmem_max)" if asked == found.rmem_max else ""
    # A loss that was counted is shown, also where none would not show that there is none.
    stages = {one.stage: one.lost for one in run.stages if one.lost or one.stage not in left_out}
    lost = [stages.get(name) for name in STAGES]
    return (
        f"{size}{name}",
        f"stalls {run.stall * 1e3:g}ms" if run.stall else "at once",
        Cell(units.short(run.took), "plain" if run.pace_reached else "warn"),
        *(Cell("-", "dim") if one is None else Cell(units.count(one), "bad" if one else "plain") for one in lost),
        Cell(units.count(run.received), "good" if not run.lost else "plain"),
        memory(run.most),
    )


def _reasons(found: BenchReport) -> Iterator[str]:
    """Of what was lost before the receive buffer, and of what a counter says that it cannot be compared with."""
    for run in found.runs:
        for one in run.stages:
            if one.why is not None:
                yield f"{_NAMES[one.stage]}: not measured: {one.why}"
            elif one.lost and one.stage != "receive_buffer" and one.reasons:
                yield f"{_NAMES[one.stage]}: " + ", ".join(
                    f"{name} {units.count(n)}" for name, n in one.reasons.items()
                )
    if refused := sum(one.refused for one in found.runs):
        yield f"the sender's kernel refused {units.count(refused)} packets"
