"""Takes a changed configuration file into effect: read whole, refused whole, or applied to every agent."""

import asyncio
import time
from pathlib import Path
from typing import Final

from mcastd.composition import Composition
from mcastd.config.credentials import read_certificates, read_psk
from mcastd.config.digest import digest
from mcastd.config.load import Loaded, load
from mcastd.config.model import Config
from mcastd.errors import ConfigError, ConfigProblem, McastdError
from mcastd.ipsec.messages import PeerWithKey
from mcastd.system import own_networks
from mcastd.system.log import Logger
from mcastd.system.notify import notify, reloading

_SETTLE_TIMEOUT: Final = 10.0
_FIXED: Final = ("runtime_dir", "vici_socket", "datapath")


class Reload:
    """``loaded`` is the file that is in effect, and ``digest`` what it says, in short."""

    def __init__(self, path: Path, loaded: Loaded, agents: Composition, log: Logger) -> None:
        self._path = path
        self.loaded, self.digest = loaded, digest(loaded.config)
        self._agents = agents
        self._log = log
        self._one_at_a_time = asyncio.Lock()

    async def reload(self) -> str:
        """Read the file again and apply it; returns what to say of it.

        Raises ConfigError where the file is refused, and then nothing has changed; McastdError where it is in effect
        but not applied everywhere in time.
        """
        async with self._one_at_a_time:
            began = time.monotonic()
            notify(reloading())
            try:
                loaded, name = await asyncio.to_thread(self._load)
                peers = with_keys(loaded.config)
                self._refuse_fixed(loaded.config)
                log_notes(self._log, loaded.notes)
                self.loaded, self.digest = loaded, name
                async with asyncio.timeout(_SETTLE_TIMEOUT):
                    await self._agents.apply(loaded.config, peers)
            except TimeoutError:
                raise McastdError(
                    f"{self._path} is in effect, but after {_SETTLE_TIMEOUT:.0f} s it is not applied everywhere; "
                    "mcastd keeps trying, and mcastd status shows what is missing"
                ) from None
            finally:
                notify("READY=1")
            took = round((time.monotonic() - began) * 1000)
            self._log.info("reloaded", config=str(self._path), took_ms=took)
            notes = self._agents.ipsec.status(time.monotonic()).notes
            for note in notes:
                self._log.warning("configuration_note", note=note)
            return "\n".join([f"reloaded {self._path} in {took} ms", *(f"note: {note}" for note in notes)])

    def _load(self) -> tuple[Loaded, str]:
        """The file and its digest; with thousands of groups this takes a while, so it is done in a thread."""
        loaded = load(self._path, host=own_networks.read())
        return loaded, digest(loaded.config)

    async def on_hangup(self) -> None:
        """Reload for SIGHUP, which cannot report: the log says why it failed."""
        try:
            await self.reload()
        except ConfigError as error:
            for problem in error.problems:
                self._log.error("reload_refused", problem=str(problem))
        except McastdError as error:
            self._log.error("reload_incomplete", problem=str(error))

    def _refuse_fixed(self, config: Config) -> None:
        """Refuse what a running daemon cannot change about itself."""
        old, new = self._agents.config.daemon, config.daemon
        fixed = [
            ConfigProblem(
                str(self._path), 1, f"daemon.{key}", f"is {before} while the daemon runs; restart it to change this"
            )
            for key in _FIXED
            if (before := getattr(old, key)) != getattr(new, key)
        ]
        if fixed:
            raise ConfigError(tuple(fixed))


def with_keys(config: Config) -> tuple[PeerWithKey, ...]:
    """The peers with their pre-shared keys and certificates, read from their files."""
    return tuple(PeerWithKey(peer, read_psk(peer), read_certificates(peer)) for peer in config.peers)


def log_notes(log: Logger, notes: tuple[ConfigProblem, ...]) -> None:
    """Log what is worth knowing about a file that is valid."""
    for note in notes:
        log.warning("configuration_note", note=str(note))
