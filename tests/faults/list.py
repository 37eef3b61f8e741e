"""All faults."""

from typing import Final

from tests.faults import charon, daemon, far, files, here, host, path
from tests.faults.fault import Fault

FAULTS: Final[dict[str, Fault]] = {
    fault.name: fault
    for fault in (*path.FAULTS, *here.FAULTS, *host.FAULTS, *charon.FAULTS, *far.FAULTS, *daemon.FAULTS, *files.FAULTS)
}
