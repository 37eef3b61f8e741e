"""What happens to the daemon before there is one."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

REFUSED = 2


def test_sighup_waits_for_the_daemon_and_the_service_manager_hears_why_there_is_none(tmp_path: Path) -> None:
    config, manager = tmp_path / "mcastd.toml", tmp_path / "notify"
    os.mkfifo(config)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(manager))
        listening.settimeout(20.0)
        argv = [sys.executable, "-m", "mcastd", "run", "-c", str(config)]
        environment = {**os.environ, "NOTIFY_SOCKET": str(manager)}
        with subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, text=True) as process:
            with config.open("w") as file:  # as soon as it reads
                process.send_signal(signal.SIGHUP)
                file.write("daemon = 1\npeer = 2\n")
            _, printed = process.communicate()
        problems = [line for line in printed.splitlines() if line.startswith(str(config))]
        assert process.returncode == REFUSED
        assert len(problems) == 2
        assert listening.recv(4096).decode() == f"STATUS={'; '.join(problems)}"
