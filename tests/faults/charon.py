"""charon dies, hangs, or answers what nobody can read; and its credentials and connections are changed by others.

In the lab ESP is charon's own, in user space, so that the feed stops with the process; over the kernel's it goes on.
"""

import signal
import time
from functools import partial

from mcastd.lab.topology import CHILD_GRE, CLOUD, DC
from tests.faults.fault import Fault, Group, Step
from tests.faults.lab import Lab
from tests.faults.path import ARRIVAL
from tests.faults.steps import both, charon_back, edit, kill, mcastd
from tests.faults.vici_proxy import Mode, ViciProxy

_charon = partial(Fault, group=Group.CHARON)
_credentials = partial(Fault, group=Group.CREDENTIALS)
_SILENT = ("charon_gone", "charon_unclear", *ARRIVAL)
_NEW_PSK = "agreed on yesterday, used from today"
_SAME_NAMES = """connections { dc {
  remote_addrs = 192.0.2.9
  local { auth = psk
    id = someone }
  remote { auth = psk
    id = someone-else }
  children { dc-tun-gre {
    local_ts = 192.0.2.1/32
    remote_ts = 192.0.2.2/32 } }
} }
"""


def _stopped(seconds: int) -> Fault:
    return _charon(
        name=f"charon-stopped-{seconds}",
        what=f"charon is stopped for {seconds} seconds",
        inject=kill(f"charon-{CLOUD}", signal.SIGSTOP),
        undo=kill(f"charon-{CLOUD}", signal.SIGCONT),
        lasts=float(seconds),
        lost=None,
        codes=_SILENT,
        health=("degraded", "down"),
        recovery=5.0,
    )


def _through_a_proxy(lab: Lab) -> None:
    path, charon = lab.scene.folder / CLOUD / "proxy.vici", lab.scene.vici(CLOUD)
    lab.proxy = ViciProxy(path, charon)
    lab.set_up.callback(lab.proxy.close)
    lab.edit(f'vici_socket = "{charon}"', f'vici_socket = "{path}"')


def _vici(name: str, what: str, mode: Mode, lasts: float) -> Fault:
    def change(to: Mode) -> Step:
        return lambda lab: setattr(lab.proxy, "mode", to)

    return _charon(
        name=name,
        what=what,
        setup=_through_a_proxy,
        inject=change(mode),
        undo=change("pass"),
        lasts=lasts,
        codes=("charon_gone", "charon_unclear"),
        within=12.0,  # the next question, and its time limit
        health=("degraded",),
    )


def _reauthenticate(lab: Lab) -> None:
    lab.scene.exec(CLOUD, ["swanctl", "--rekey", "--ike", "dc", "--reauth"])


def _psk(lab: Lab, psk: str) -> None:
    (lab.scene.folder / CLOUD / "psk").write_text(f"{psk}\n")
    lab.mcastd("reload")


def _rotate(lab: Lab) -> None:
    lab.scene.dc.load(psk=_NEW_PSK)
    _psk(lab, _NEW_PSK)
    _reauthenticate(lab)


def _rotate_back(lab: Lab) -> None:
    lab.scene.dc.load()
    _psk(lab, lab.scene.psk)


def _swanctl(text: str, *options: str) -> Step:
    """What other programs' swanctl does to the VM's charon, with a file of theirs."""

    def run(lab: Lab) -> None:
        conf = lab.scene.folder / CLOUD / "swanctl.conf"
        conf.write_text(text)
        lab.scene.command(CLOUD, ["swanctl", *options, "--file", str(conf)])

    return run


_FAR_ENDS_IKE: Step = lambda lab: lab.scene.exec(DC, ["swanctl", "--terminate", "--ike", "dc"])  # noqa: E731
_REAUTHENTICATION = edit("[peers.dc]\n", "[peers.dc]\nreauthentication = true\n")


FAULTS = (
    _charon(
        name="charon-killed",
        what="charon is killed, and started again",
        inject=kill(f"charon-{CLOUD}"),
        undo=charon_back(CLOUD),
        lost=None,
        codes=_SILENT,
        health=("degraded", "down"),
    ),
    _charon(
        name="charon-killed-rekeying",
        what="charon is killed in the middle of a rekeying, and started again",
        inject=both(
            lambda lab: lab.scene.start(CLOUD, "rekey", ["swanctl", "--rekey", "--child", CHILD_GRE]),
            lambda _: time.sleep(0.03),
            kill(f"charon-{CLOUD}"),
        ),
        undo=charon_back(CLOUD),
        lost=None,
        codes=_SILENT,
        health=("degraded", "down"),
    ),
    *map(_stopped, (5, 20, 60)),
    _vici("vici-stalls-20", "VICI answers nothing for 20 seconds", "stall", 20.0),
    _vici("vici-stalls-60", "VICI answers nothing for 60 seconds", "stall", 60.0),
    _vici("vici-half-frames", "VICI's answers break off in the middle", "half", 15.0),
    _vici("vici-garbage", "VICI answers with random bytes", "garbage", 15.0),
    _vici("vici-refuses", "VICI refuses all connections", "closed", 15.0),
    _charon(
        name="far-ends-ike",
        what="the other side ends the IKE_SA",
        inject=_FAR_ENDS_IKE,
        lost=3.0,
        health=("ok", "degraded", "down"),
    ),
    _credentials(
        name="credentials-unloaded",
        what="swanctl --load-creds with an empty file unloads our key; later the other side ends the IKE_SA",
        inject=both(_swanctl("\n", "--load-creds", "--clear"), lambda _: time.sleep(6.0), _FAR_ENDS_IKE),
        lost=3.0,
        health=("ok", "degraded", "down"),
    ),
    _credentials(
        name="connections-replaced",
        what="swanctl --load-all with a connection of the same name; later the other side ends the IKE_SA",
        inject=both(_swanctl(_SAME_NAMES, "--load-all"), lambda _: time.sleep(6.0), _FAR_ENDS_IKE),
        lost=3.0,
        health=("ok", "degraded", "down"),
    ),
    _credentials(
        name="psk-rotated",
        what="both sides change the pre-shared key, and authenticate again",
        setup=_REAUTHENTICATION,
        inject=_rotate,
        undo=_rotate_back,
    ),
    _credentials(
        name="psk-rotated-there-only",
        what="only the other side changes the pre-shared key; the reauthentication fails while the old SA stands",
        setup=_REAUTHENTICATION,
        inject=both(lambda lab: lab.scene.dc.load(psk=_NEW_PSK), _reauthenticate),
        undo=both(lambda lab: lab.scene.dc.load(), mcastd("reload"), _reauthenticate),
        codes=("reauth_failed", "psk_or_identity", "peer_psk"),
        health=("degraded",),
        doctor=("reauth_failed", "authentication"),
    ),
)
