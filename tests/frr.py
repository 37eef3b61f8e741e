"""FRR's zebra and pimd in a namespace, with sockets and files of their own."""

import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tests.namespaces import DEADLINE, Namespace

LIBEXEC = Path("/usr/lib/frr")


class Frr:
    """zebra, and a pimd that can be killed and started again."""

    def __init__(self, namespace: Namespace, pimd_conf: str) -> None:
        self._namespace = namespace
        self._folder = Path(tempfile.mkdtemp(prefix="mcastd-test-frr-"))
        shutil.chown(self._folder, "frr", "frr")
        self._folder.chmod(0o755)
        (self._folder / "zebra.conf").write_text("")
        (self._folder / "pimd.conf").write_text(pimd_conf)
        self._zebra = self._start("zebra")
        self._wait("zebra", "show version")
        self.pimd = self._start("pimd")
        self._wait("pimd", "show ip pim interface")

    def _start(self, name: str) -> "subprocess.Popen[bytes]":
        folder = self._folder
        command = ["ip", "netns", "exec", self._namespace.name, str(LIBEXEC / name), "-u", "frr", "-g", "frr"]
        command += ["-z", f"{folder}/zserv.sock", "-i", f"{folder}/{name}.pid", "--vty_socket", str(folder)]
        return subprocess.Popen(
            [*command, "-f", f"{folder}/{name}.conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def _wait(self, name: str, question: str) -> None:
        end = time.monotonic() + DEADLINE
        while "FRRouting" not in (said := self._ask(name, question)) and "veth0" not in said:
            assert time.monotonic() < end, f"{name} does not start: {said}"
            time.sleep(0.05)

    def _ask(self, name: str, question: str) -> str:
        command = ["vtysh", "--vty_socket", str(self._folder), "-d", name, "-c", question]
        return subprocess.run(command, check=False, capture_output=True, text=True).stdout

    def joins(self) -> set[tuple[str, str]]:
        """(source, group) of every join that pimd holds on veth0; ``*`` for (*,G)."""
        rows = [line.split() for line in self._ask("pimd", "show ip pim join").splitlines()]
        return {(row[2], row[3]) for row in rows if len(row) > 4 and row[0] == "veth0" and row[4] == "JOIN"}

    def neighbors(self) -> set[str]:
        """The neighbours that pimd knows."""
        rows = [line.split() for line in self._ask("pimd", "show ip pim neighbor").splitlines()]
        return {row[1] for row in rows if len(row) > 3 and row[0] == "veth0"}

    def igmp_querier(self) -> str:
        """The address that pimd has for the querier on veth0."""
        found: dict[str, dict[str, str]] = json.loads(self._ask("pimd", "show ip igmp interface json"))
        return found.get("veth0", {}).get("querierIp", "")

    def configure(self, *lines: str) -> None:
        """Change pimd's configuration."""
        words = [word for line in ("configure terminal", *lines) for word in ("-c", line)]
        command = ["vtysh", "--vty_socket", str(self._folder), "-d", "pimd", *words]
        subprocess.run(command, check=True, capture_output=True)

    def restart(self) -> None:
        """Kill pimd, which forgets everything, and start it again."""
        self.pimd.kill()
        self.pimd.wait()
        self.pimd = self._start("pimd")

    def close(self) -> None:
        for process in (self.pimd, self._zebra):
            process.kill()
            process.wait()
        shutil.rmtree(self._folder)
