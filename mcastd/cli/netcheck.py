"""Check the way to a peer before there is a configuration: from addresses alone, without a secret.

An IKE_SA_INIT request goes to UDP 500 and 4500 of the peer: does it get there and back, is there a NAT, is a candidate
for the public address the right one, and what size of packet passes. Candidates are --public, local_id of a peer with
this address in the configuration, if there is one, and what EC2's metadata say. It changes nothing here; the peer may
keep two half-open SAs for some seconds. The exit code is 1 if something is broken, or the peer does not answer at all.

Examples: mcastd netcheck 177.54.214.20
          mcastd netcheck 177.54.214.20 --public 222.45.67.1
          mcastd netcheck 177.54.214.20 --json | jq .findings
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Final

import msgspec

from mcastd.cli import add_config_argument, terminal
from mcastd.cli.layout import Cell, Column, Style, Table
from mcastd.config.load import load
from mcastd.config.other_side import as_address
from mcastd.errors import McastdError
from mcastd.system import own_networks

if TYPE_CHECKING:
    from pathlib import Path

    from mcastd.tools.netcheck.report import Finding, Level, PathMtu, PortCheck

_STYLES: "Final[dict[Level, Style]]" = {"ok": "good", "note": "plain", "unknown": "warn", "broken": "bad"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("peer", metavar="PEER", type=_peer, help="the other side's IKE address")
    parser.add_argument("--public", metavar="ADDRESS", type=_host, help="the public address of this machine")
    parser.add_argument("--local", metavar="ADDRESS", type=_host, help="send from this address of the machine")
    parser.add_argument("--json", action="store_true", help="print one JSON object with stable keys")
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask the peer and print what was found; returns the exit code."""
    try:
        from mcastd.tools.netcheck import host, probe, report  # scapy takes a second, and may not be installed
    except ModuleNotFoundError as error:
        raise McastdError("netcheck needs scapy: pip install 'mcastd[trace]'") from error
    peer, local = arguments.peer, arguments.local
    with ThreadPoolExecutor() as threads:
        machine = threads.submit(host.look)
        if not arguments.json:
            print(f"asking {peer} on UDP {report.IKE} and {report.NAT_T} ...", file=sys.stderr, flush=True)
        asked = [threads.submit(probe.check_port, local, peer, port) for port in (report.IKE, report.NAT_T)]
        ports = tuple(each.result() for each in asked)
        mtu = _path_mtu(ports, local, peer)
        candidates = {} if arguments.public is None else {arguments.public: "--public"}
        candidates |= {found: "local_id" for found in _local_ids(arguments.config, peer) if found not in candidates}
        if (cloud := machine.result().cloud) is not None and cloud.public is not None:
            candidates.setdefault(cloud.public, "EC2 metadata")
        found = report.findings(report.Observed(peer, ports, mtu, candidates, machine.result()))
    if arguments.json:
        print(msgspec.json.encode(report.NetcheckReport(str(peer), tuple(found))).decode())
    else:
        terminal.show((_table(found),))
    answered = any(check.answer is not None for check in ports)
    return 0 if answered and all(one.level != "broken" for one in found) else 1


def _host(text: str) -> IPv4Address:
    found = as_address(text)
    if found is None or found.is_multicast or found.is_unspecified or found.is_reserved or found.is_loopback:
        raise argparse.ArgumentTypeError(f"{text}; allowed: the IPv4 address of a host, e.g. 177.54.214.20")
    return found


def _peer(text: str) -> IPv4Address:
    found = _host(text)
    if found in own_networks.read().addresses:
        raise argparse.ArgumentTypeError(f"{text} is this host's own; allowed: the other side's address")
    return found


def _path_mtu(ports: "tuple[PortCheck, ...]", local: IPv4Address | None, peer: IPv4Address) -> "PathMtu | None":
    """By the port that answers; None if none does."""
    from mcastd.tools.netcheck import probe

    answering = [check.ends.remote_port for check in ports if check.answer is not None]
    return probe.path_mtu(local, peer, answering[-1]) if answering else None


def _local_ids(path: "Path", peer: IPv4Address) -> list[IPv4Address]:
    """The identities by which this machine is to be known to the peer, where there is a configuration already."""
    try:
        peers = load(path).config.peers
    except McastdError:
        return []
    return [found for one in peers if one.remote == peer and (found := as_address(one.local_id)) is not None]


def _table(found: "tuple[Finding, ...]") -> Table:
    rows = [(Cell(one.level, _STYLES[one.level]), one.text) for one in found]
    return Table((Column("result"), Column("what")), rows)
