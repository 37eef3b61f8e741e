"""What charon itself has to be told, since VICI cannot: is it, in strongSwan's own settings?"""

from typing import Final

from mcastd.config.lines import KeyPath
from mcastd.config.model import Config
from mcastd.config.strongswan import Section, charon_setting, load, truth
from mcastd.errors import ConfigError

DROP_IN: Final = "packaging/strongswan.d/mcastd.conf as /etc/strongswan.d/mcastd.conf, and a restart of strongSwan"
WHERE: Final[KeyPath] = ("daemon", "strongswan_conf")
"""The key of our file that the notes are reported at."""

_PATIENCE: Final = 60.0
_DEFAULTS: Final = {"retransmit_timeout": 4.0, "retransmit_base": 1.8, "retransmit_tries": 5.0}


def notes(config: Config) -> tuple[str, ...]:
    """What is missing in the settings for the peers of a configuration, in words; nothing where there is none."""
    if not config.peers:
        return ()
    path = config.daemon.strongswan_conf
    try:
        settings = load(path)
    except ConfigError as error:
        return (f"what charon does by itself is not known: {error}",)
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
    patience = given_up_after(settings)
    if patience > _PATIENCE:
        found.append(
            f"by the retransmission settings in {path} and what it includes, charon gives up a peer that is dead after "
            f"{patience:.0f} s only; what helps: {DROP_IN}"
        )
    return tuple(found)


def given_up_after(settings: Section) -> float:
    """Seconds from a request to when charon gives it up: strongswan.conf(5), IKEv2 RETRANSMISSION."""
    timeout, base, tries = (_number(settings, key, default) for key, default in _DEFAULTS.items())
    return sum(timeout * base**n for n in range(min(round(tries), 100) + 1))


def _number(settings: Section, key: str, default: float) -> float:
    value = charon_setting(settings, key)
    try:
        return max(0.0, min(1000.0, float(value.text))) if value else default
    except ValueError:
        return default
