"""The errors of mcastd, one small tree.

McastdError
 +-- ConfigError         the file is refused; carries every ConfigProblem in it
 +-- DecodeError         bytes that are not a valid packet or message; carries a reason to count by
 +-- ViciError           charon
 |    +-- ViciUnavailable    its socket is absent, or went away
 |    +-- ViciNoAnswer       it did not answer in time
 |    +-- ViciUnreadable     it answered what cannot be read
 |    +-- ViciRefused        it answered that it will not
 +-- HostError           the host refused a change (netlink, sysctl, sockets)
 |    +-- LinkUnsupported    the kernel has no links of this kind
 |    +-- AlreadyRunning     another daemon has the runtime directory
 +-- ControlError        the daemon does not answer on its control socket
 |    +-- ControlRefused     it answered that it will not
 +-- PeerConfigError     the other side's kind of device cannot do what was agreed on
 +-- OutputError         a file that a command makes could not be written
 +-- LabError            the lab's scene could not be built or used
"""

import errno
from typing import Final

import msgspec

SHORTAGES: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO))
"""Error numbers of what the host lacks for now, whatever file it was about."""


class McastdError(Exception):
    """Every error that mcastd raises on purpose. Its text is for people and holds no secret."""


class ConfigProblem(msgspec.Struct, frozen=True):
    """One thing wrong in a configuration file: where, and in words what is wrong and what is allowed."""

    file: str
    line: int
    key: str
    text: str

    def __str__(self) -> str:
        """``FILE:LINE: KEY: what is wrong, what is allowed``."""
        return (
            f"{self.file}:{self.line}: {self.key}: {self.text}" if self.key else f"{self.file}:{self.line}: {self.text}"
        )


class ConfigError(McastdError):
    """A configuration that is refused whole."""

    def __init__(self, problems: tuple[ConfigProblem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class DecodeError(McastdError):
    """Bytes that are not a valid packet. ``reason`` is a short stable token, the name of a counter."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ViciError(McastdError):
    """Something between us and charon."""


class ViciUnavailable(ViciError):
    """charon's VICI socket is absent, refuses, or closed on us."""


class ViciNoAnswer(ViciError):
    """charon did not answer in time; its socket is there."""


class ViciUnreadable(ViciError):
    """charon answered what cannot be read."""


class ViciRefused(ViciError):
    """charon answered a command with success = no; the text is charon's reason."""


class HostError(McastdError):
    """The host refused a change that the configuration asks for."""


class LinkUnsupported(HostError):
    """The kernel has no links of this kind (GRE, XFRM), so that none can be made."""


class AlreadyRunning(HostError):
    """Another daemon has the lock of the runtime directory."""


class ControlError(McastdError):
    """The daemon does not answer on its control socket."""


class ControlRefused(ControlError):
    """The daemon answered, and the answer is no; the text is its reason."""


class PeerConfigError(McastdError):
    """What was agreed on cannot be said in the other side's configuration."""


class OutputError(McastdError):
    """A file that a command makes is there already, or could not be written."""


class LabError(McastdError):
    """The lab's scene could not be built, used or taken down."""
