"""A private charon for a place, out of reach of the host's own."""

from functools import partial

from mcastd.lab import topology
from mcastd.lab.commands import listening, require_userspace_esp, wait_for, works
from mcastd.lab.places import Places
from mcastd.lab.topology import CLOUD, DC, INTERNET

# ESP in user space passes through charon's UDP socket, whose receive buffer holds a tenth of a second of the feed and
# cannot be set: on a busy machine charon must not wait longer than that for its turn. A nice value does not do it: it
# counts among the processes of one session only (sched(7), autogroup).
_FIRST = ("chrt", "--rr", "1")


def start_charons(places: Places) -> bool:
    """Start one charon in the cloud, with nothing loaded, and one in the data centre; whether ESP is in user space."""
    userspace = not _kernel_has_esp(places)
    if userspace:
        require_userspace_esp()
    for place in (CLOUD, DC):
        log, drop_in = places.log(f"charon-{place}"), places.options.drop_in
        text = topology.strongswan_conf(places.vici(place), log, userspace_esp=userspace, drop_in=drop_in)
        places.strongswan_conf(place).write_text(text)
        start_charon(places, place)
    return userspace


def start_charon(places: Places, place: str) -> None:
    """Start a place's charon, again if it was killed."""
    environment = {"STRONGSWAN_CONF": str(places.strongswan_conf(place))}
    first = _FIRST if works([*_FIRST, "true"]) else ()
    places.start(place, f"charon-{place}", [*first, "/usr/sbin/charon-systemd"], environment)


def wait_for_charons(places: Places) -> None:
    """Return when both answer."""
    for place in (CLOUD, DC):
        wait_for(f"charon in {place}", partial(listening, places.vici(place)))


def list_sas(places: Places, place: str) -> str:
    """What a place's charon lists (``swanctl --list-sas``); nothing where there is none."""
    return places.command(place, ["swanctl", "--list-sas"]).strip()


def _kernel_has_esp(places: Places) -> bool:
    # Tried in a place where nobody uses it, and taken away again.
    ip = ["ip", "-n", places.namespace(INTERNET), "xfrm", "state"]
    state = ["add", "src", "192.0.2.1", "dst", "192.0.2.2", "proto", "esp", "spi", "0x1000", "mode", "tunnel"]
    keys = ["enc", "cbc(aes)", f"0x{'0' * 64}", "auth-trunc", "hmac(sha256)", f"0x{'0' * 64}", "128"]
    return works([*ip, *state, *keys]) and works([*ip, "flush"])
