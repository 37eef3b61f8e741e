"""charon's own settings, which VICI cannot change: what strongswan.conf should have for the configured peers."""

from typing import Final

from mcastd.config.line_numbers import KeyPath
from mcastd.config.model import Config
from mcastd.config.strongswan_conf import Section, charon_setting, load, truth
from mcastd.errors import ConfigError

DROP_IN: Final = "packaging/strongswan.d/mcastd.conf as /etc/strongswan.d/mcastd.conf, and a restart of strongSwan"
WHERE: Final[KeyPath] = ("daemon", "strongswan_conf")
"""The key of the configuration at which the notes are reported."""

_LONGEST_TIMEOUT: Final = 60.0  # seconds
_DEFAULTS: Final = {"retransmit_timeout": 4.0, "retransmit_base": 1.8, "retransmit_tries": 5.0}


def notes(config: Config) -> tuple[str, ...]:
    """What the settings lack for the peers of a configuration; nothing without peers."""
    if not config.peers:
        return ()
    path = config.daemon.strongswan_conf
    try:
        settings = load(path)
    except ConfigError as error:
        return (f"the settings of charon are not known: {error}",)
    found = []
    reauthenticated = ", ".join(peer.name for peer in config.peers if peer.reauthentication and peer.version == 2)
    make_before_break = charon_setting(settings, "make_before_break")
    if reauthenticated and not truth(make_before_break):
        # Since strongSwan 6.0 it is the default. The version of charon is not known here.
        which = "" if make_before_break else "before strongSwan 6.0, "
        found.append(
            f"make_before_break is not on in {path} or what it includes: {which}each reauthentication of "
            f"{reauthenticated} loses packets; what helps: {DROP_IN}"
        )
    timeout = given_up_after(settings)
    if timeout > _LONGEST_TIMEOUT:
        found.append(
            f"by the retransmission settings in {path} and what it includes, charon gives up a dead peer only after "
            f"{timeout:.0f} s; what helps: {DROP_IN}"
        )
    return tuple(found)


def given_up_after(settings: Section) -> float:
    """Seconds until charon gives up a request: strongswan.conf(5), IKEv2 RETRANSMISSION."""
    timeout, base, tries = (_number(settings, key, default) for key, default in _DEFAULTS.items())
    return sum(timeout * base**n for n in range(min(round(tries), 100) + 1))


def _number(settings: Section, key: str, default: float) -> float:
    value = charon_setting(settings, key)
    try:
        return max(0.0, min(1000.0, float(value.text))) if value else default
    except ValueError:
        return default
