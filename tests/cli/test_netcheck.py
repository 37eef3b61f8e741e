"""The arguments of ``mcastd netcheck``: what is no address of another host is refused before anything is sent."""

import signal
from ipaddress import IPv4Address

import pytest

from mcastd.cli import main
from mcastd.config.checks.host import Host
from mcastd.system import own_networks


@pytest.mark.parametrize(
    "address", ["dc.example.com", "2001:db8::1", "0.0.0.0", "239.1.1.1", "255.255.255.255", "127.0.0.1", "10.1.1", ""]
)
@pytest.mark.parametrize("words", [["{}"], ["177.54.214.20", "--public", "{}"], ["177.54.214.20", "--local", "{}"]])
def test_what_is_no_address_of_a_host(words: list[str], address: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["netcheck", *(word.format(address) for word in words)])
    assert ended.value.code == 2
    assert f"{address}; allowed: the IPv4 address of a host, e.g. 177.54.214.20" in capsys.readouterr().err


def test_this_host_is_no_peer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(own_networks, "read", lambda: Host(frozenset([IPv4Address("10.1.1.246")])))
    with pytest.raises(SystemExit) as ended:
        main(["netcheck", "10.1.1.246"])
    assert ended.value.code == 2
    assert "10.1.1.246 is this host's own; allowed: the other side's address" in capsys.readouterr().err


def test_an_interrupt_while_the_command_is_loaded_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mcastd.cli.import_module", interrupted)
    assert main(["netcheck", "177.54.214.20"]) == 130


def test_a_second_interrupt_finds_a_program_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """``timeout --signal INT`` sends two: to the program, and to its process group."""

    def interrupted(_name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mcastd.cli.import_module", interrupted)
    monkeypatch.setattr("sys.argv", ["mcastd", "netcheck", "177.54.214.20"])
    before = signal.getsignal(signal.SIGINT)
    try:
        assert main() == 130
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
