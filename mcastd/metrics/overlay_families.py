"""The metrics of overlays, as status shows them. Pure."""

from collections.abc import Iterator
from typing import Any, Final

from mcastd.metrics.family import Table, counter, gauge, is_set, labels, size, states
from mcastd.overlay_status import EndpointStatus, OverlayState, OverlayStatus, ReplicationMode

OVERLAY: Final = Table(
    OverlayStatus,
    (
        is_set("mcastd_overlay_up", "Whether the overlay is up.", "state", "up"),
        states("mcastd_overlay_state", "The state of the overlay.", "state", OverlayState),
        states("mcastd_overlay_mode", "How groups are sent to who wants them.", "mode", ReplicationMode, "mode"),
        gauge("mcastd_overlay_mtu_bytes", "The MTU of the overlay.", "mtu"),
        gauge("mcastd_overlay_groups", "Groups that some machine gets.", "groups"),
        gauge("mcastd_overlay_copies", "Copies that leave if each group has a packet.", "copies"),
        gauge("mcastd_overlay_asked", "Machines that queries go to.", "asked"),
        size("mcastd_overlay_unreachable_hosts", "Hosts that want groups and are no members; up to 50.", "unreachable"),
        counter("mcastd_overlay_refused_packets_total", "Packets that came from no member.", "refused"),
    ),
    {"interface": "name"},
)

ENDPOINT: Final = Table(
    EndpointStatus,
    (
        gauge("mcastd_overlay_endpoint_heard", "Whether hosts there have sent something of late.", "was_heard"),
        gauge("mcastd_overlay_endpoint_groups", "Groups that are sent there.", "groups"),
    ),
    {"interface": "OverlayStatus.name", "endpoint": "endpoint"},
)


def items(overlays: tuple[OverlayStatus, ...]) -> Iterator[tuple[Table, str, Any]]:
    """Each overlay and its machines: the table, the labels, and the item."""
    for overlay in overlays:
        name = labels(interface=overlay.name)
        yield OVERLAY, name, overlay
        for endpoint in overlay.endpoints:
            yield ENDPOINT, f"{name},{labels(endpoint=endpoint.endpoint)}", endpoint
