"""pyroute2's asynchronous rtnetlink socket, without the rest of pyroute2.

The package's own ``__init__`` imports all of it, also databases, Wi-Fi and 9P: 65 ms and 6 MB that the daemon does not
use. It is entered as a package that has been imported; its modules are then found as usual.
"""

import sys
from importlib.util import find_spec, module_from_spec

if "pyroute2" not in sys.modules and (_spec := find_spec("pyroute2")):
    sys.modules["pyroute2"] = module_from_spec(_spec)

from pyroute2.iproute.linux import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

__all__ = ["AsyncIPRoute", "NetlinkError"]
