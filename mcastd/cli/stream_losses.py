"""Where packets of a group were lost, for people: a line for each place, and what follows from all of them."""

from collections.abc import Iterator

from mcastd.cli.units import duration
from mcastd.stream_status import LossStatus, StreamsReport

_STAGES = {
    "sequence": "missing by the sender's numbers",
    "nic": "network card",
    "cloud": "limit of the cloud on",
    "softnet": "kernel's input queue (softnet)",
    "esp": "ESP",
    "tunnel": "tunnel",
    "host": "this host,",
    "socket": "socket",
}


def lines(report: StreamsReport) -> Iterator[str]:
    """The table, and the place that lost most."""
    if report.losses_period is None:
        return
    yield ""
    yield f"lost on this host in the last {duration(report.losses_period)}, in the order of the path:"
    for one in report.losses:
        count = "not measured" if one.packets is None else str(one.packets)
        yield f"  {_place(one)}: {count}{f' ({one.text})' if one.text else ''}"
    if report.streams and all(one.state == "silent" for one in report.streams):
        last = min(one.last_age for one in report.streams)
        yield f"silent: the last packet arrived {duration(last)} ago; the sender has stopped, or the way to this host"
    yield _verdict(report.losses)


def _verdict(losses: tuple[LossStatus, ...]) -> str:
    worst = next((one for one in losses if one.worst), None)
    sequence = next((one for one in losses if one.stage == "sequence" and one.packets is not None), None)
    if worst is not None and worst is sequence:
        missing = f"{worst.packets} are missing by the sender's numbers, since measuring began"
        return f"most is lost before this host: {missing}"
    if worst is not None:
        return f"most is lost by: {_place(worst)}"
    if sequence is None:
        return "no loss is seen on this host: what is missing was lost before it"
    late = f"; {sequence.late} came late: the way to this host reorders packets" if sequence.late else ""
    return f"nothing is lost{late}"


def _place(one: LossStatus) -> str:
    return f"{_STAGES[one.stage]} {one.subject}".rstrip()
