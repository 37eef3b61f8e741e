import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mcastd.cli import main
from mcastd.lab import topology
from tests import pcap
from tests.namespaces import Namespace

CONFIG = topology.mcastd_toml(
    vici=Path("/run/v"),
    strongswan=Path("/run/s"),
    runtime=Path("/run/r"),
    psk_file=Path("psk"),
    groups=(topology.GROUP,),
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "psk").write_text("secret")
    (tmp_path / "psk").chmod(0o600)
    path = tmp_path / "mcastd.toml"
    path.write_text(CONFIG)
    return path


def test_a_tunnel_that_is_not_there_is_wrong_usage(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", "-c", str(config), "--tunnel", "gre9"]) == 2
    assert capsys.readouterr().err == "mcastd: there is no tunnel gre9; allowed: gre1\n"


@pytest.mark.parametrize(
    ("option", "value"), [("--seconds", "x"), ("--seconds", "nan"), ("--seconds", "0"), ("--count", "many")]
)
def test_a_limit_is_more_than_0(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["trace", option, value])
    assert f"argument {option}: {value}; allowed: more than 0" in capsys.readouterr().err


def test_a_broken_file_is_told_as_check_does(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(CONFIG.replace("10.44.4.6/30", "10.44.4.6/99"))
    assert main(["trace", "-c", str(config)]) == 2
    assert "tunnels.gre1.address" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--only", "ike,feed"], ["--seconds", "0"], ["--count", "0"], ["--seconds", "x"]])
def test_wrong_words(config: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["trace", "-c", str(config), *words])
    assert ended.value.code == 2
    assert words[0] in capsys.readouterr().err


@pytest.mark.root
def test_a_file_that_cannot_be_written(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", "-c", str(config), "--write", "/nonexistent/a.pcapng"]) == 1
    assert "/nonexistent/a.pcapng: No such file or directory" in capsys.readouterr().err


SENDER = """
import socket, sys
from mcastd.pim.packet import Hello, encode_hello
sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, 103)
sock.bind(("10.44.4.6", 0))
for message in (b"\\x20\\0", encode_hello(Hello(holdtime=105)), encode_hello(Hello(holdtime=0))):
    sock.sendto(message, ("10.44.4.5", 0))
"""


@pytest.mark.root
@pytest.mark.parametrize("written", [False, True])
def test_lines_or_a_file_and_a_summary(
    config: Path, namespace: Callable[[], Namespace], tmp_path: Path, written: bool
) -> None:
    host = namespace()
    host.ip("link", "add", "gre1", "type", "veth", "peer", "name", "other")
    host.ip("addr", "add", "10.44.4.6/30", "dev", "gre1")
    for name in ("gre1", "other"):
        host.ip("link", "set", name, "up")
    host.ip("neigh", "add", "10.44.4.5", "lladdr", "02:00:00:00:00:01", "dev", "gre1")
    inside = ["ip", "netns", "exec", host.name, sys.executable]
    file = tmp_path / "a.pcapng"
    more = ["--write", str(file)] if written else []
    argv = [*inside, "-m", "mcastd", "trace", "-c", str(config), "--only", "pim", "--count", "3", *more]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as trace:
        assert trace.stdout is not None
        assert trace.stderr is not None
        assert trace.stderr.readline() == "tracing pim; Ctrl-C ends it\n"
        subprocess.run([*inside, "-c", SENDER], check=True)
        lines, summary = trace.stdout.read().splitlines(), trace.stderr.read()
    assert trace.returncode == 0
    assert "0 ike, 0 keepalive, 3 pim, 0 igmp, 1 broken; ESP 0 in, 0 out" in summary
    if written:
        assert lines == []
        assert len(pcap.tshark(file)) == 3
    else:
        assert ["gre1     out" in line for line in lines] == [True] * 3
        assert "broken pim packet (short): 2000" in lines[0]
        assert "PIMv2 Hello, holdtime 105" in lines[1]
        assert "PIMv2 Hello, goodbye" in lines[2]


def test_without_scapy_it_says_what_to_install(config: Path) -> None:
    code = "import sys; sys.modules['scapy'] = None; from mcastd.cli import main; sys.exit(main(sys.argv[1:]))"
    argv = [sys.executable, "-c", code, "trace", "-c", str(config)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "mcastd: trace needs scapy: pip install 'mcastd[trace]'\n")
