"""The part of systemd that a restart needs: sd_notify(3)'s socket, the descriptor store and sd_listen_fds(3).

Run as a program it is what stands between systemd's fork and the service: it puts the stored descriptors where the
service looks for them, and becomes the service.
"""

import array
import fcntl
import os
import select
import signal
import socket
import sys
import threading
from pathlib import Path

from mcastd.lab.commands import python, wait_for
from mcastd.lab.scene import Scene

_FIRST = 3
_PATIENCE = 60.0
_POLL = 0.1


class ServiceManager:
    """Starts the scene's daemon as a service of ``Type=notify``. ``stored`` are the descriptors by name.

    ``store`` False is a service with ``FileDescriptorStoreMax=0``, ``module`` what is run instead of mcastd.
    ``said`` is every notification, in order.
    """

    def __init__(self, scene: Scene, *, store: bool = True, module: str = "mcastd") -> None:
        self.stored: dict[str, int] = {}
        self.said: list[str] = []
        self._scene = scene
        self._store = store
        self._module = module
        self._path: Path = scene.folder / "notify.sock"
        self._path.unlink(missing_ok=True)
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._sock.bind(str(self._path))
        # It listens all the time, as systemd does: a queue that is full makes who speaks wait.
        self._hearing = threading.Lock()
        self._closed = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        while not self._closed.is_set():
            if select.select([self._sock], [], [], _POLL)[0]:
                self.listen()

    def start(self) -> None:
        """Start the daemon with what is stored, and return when it has said that it is ready."""
        self.said.clear()
        environment = {"NOTIFY_SOCKET": str(self._path), "WATCHDOG_USEC": "3000000"}
        passed = [f"{name}={descriptor}" for name, descriptor in self.stored.items()]
        argv = [sys.executable, __file__, *passed, "--", *python(self._module, "run")]
        self._scene.start_daemon(argv, environment, list(self.stored.values()))
        self.wait_for("READY=1")

    def restart(self, number: signal.Signals) -> int | None:
        """End the daemon by a signal and start it again; returns its exit status."""
        status = self.stop(number)
        self.start()
        return status

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int | None:
        """End the daemon by a signal; its last words are heard."""
        status = self._scene.stop_daemon(number)
        self.listen()
        return status

    def wait_for(self, line: str) -> None:
        """Return when a notification had this line."""
        wait_for(line, lambda: line in "\n".join(self.listen()).splitlines(), _PATIENCE)

    def listen(self) -> list[str]:
        """Take in what has been said, and store and remove descriptors; returns all since the start."""
        with self._hearing:
            while True:
                try:
                    data, ancillary, _flags, _address = self._sock.recvmsg(65536, socket.CMSG_SPACE(64 * 4))
                except BlockingIOError:
                    return list(self.said)
                descriptors = array.array("i")
                for _level, _kind, content in ancillary:
                    descriptors.frombytes(content)
                self.said.append(data.decode())
                self._act(dict(line.split("=", 1) for line in data.decode().splitlines()), list(descriptors))

    def _act(self, said: dict[str, str], descriptors: list[int]) -> None:
        name = said.get("FDNAME", "stored")
        if said.get("FDSTOREREMOVE") == "1":
            self._remove(name)
        if said.get("FDSTORE") == "1" and self._store:
            assert len(descriptors) == 1
            self._remove(name)
            self.stored[name] = descriptors.pop()
        for descriptor in descriptors:
            os.close(descriptor)

    def _remove(self, name: str) -> None:
        if name in self.stored:
            os.close(self.stored.pop(name))

    def close(self) -> None:
        """Forget everything that is stored."""
        self._closed.set()
        self._listener.join()
        for name in list(self.stored):
            self._remove(name)
        self._sock.close()


def become_the_service(passed: list[str], argv: list[str]) -> None:
    """Move the descriptors to 3, 4, ..., say so in the environment, and exec."""
    names = [word.partition("=")[0] for word in passed]
    # Out of the way first: one of them may have the number that another one gets.
    moved = [fcntl.fcntl(int(word.partition("=")[2]), fcntl.F_DUPFD_CLOEXEC, 64) for word in passed]
    for number, descriptor in enumerate(moved, _FIRST):
        os.dup2(descriptor, number)
    if names:
        os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(names)), "LISTEN_FDNAMES": ":".join(names)}
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    split = sys.argv.index("--")
    become_the_service(sys.argv[1:split], sys.argv[split + 1 :])
