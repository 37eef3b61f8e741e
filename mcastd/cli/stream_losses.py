"""Where packets of a group were lost, for people: a line for each place, and what follows from all of them."""

from collections.abc import Iterator

from mcastd.cli.layout import Style, Text
from mcastd.cli.units import count, duration
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


def lines(report: StreamsReport) -> Iterator[Text]:
    """The table, and the place that lost most."""
    if report.losses_period is None:
        return
    yield Text()
    yield Text(f"lost on this host in the last {duration(report.losses_period)}, in the order of the path:")
    for one in report.losses:
        number = "not measured" if one.packets is None else count(one.packets)
        style: Style = "dim" if one.packets is None else "bad" if one.worst else "warn" if one.packets else "plain"
        yield Text(f"{_place(one)}: {number}{f' ({one.text})' if one.text else ''}", style, indent=2)
    if report.streams and all(one.state == "silent" for one in report.streams):
        last = duration(min(one.last_age for one in report.streams))
        yield Text(
            f"silent: the last packet arrived {last} ago; the sender has stopped, or the way to this host", "warn"
        )
    yield _verdict(report.losses)


def _verdict(losses: tuple[LossStatus, ...]) -> Text:
    worst = next((one for one in losses if one.worst), None)
    sequence = next((one for one in losses if one.stage == "sequence" and one.packets is not None), None)
    if worst is not None and worst is sequence:
        missing = f"{count(worst.packets or 0)} are missing by the sender's numbers, since measuring began"
        return Text(f"most is lost before this host: {missing}", "bad")
    if worst is not None:
        return Text(f"most is lost by: {_place(worst)}", "bad")
    if sequence is None:
        return Text("no loss is seen on this host; should packets be missing, they were lost before it, or never sent")
    late = f"; {sequence.late} came late: the way to this host reorders packets" if sequence.late else ""
    return Text(f"nothing is lost{late}", "good")


def _place(one: LossStatus) -> str:
    return f"{_STAGES[one.stage]} {one.subject}".rstrip()
