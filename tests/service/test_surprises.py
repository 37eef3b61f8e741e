"""The package's service where something is missing that a host usually has; the kernel of all this has no IPv6."""

import json
import re
import sys
from typing import Any

import pytest

from tests.service.scenario import BY_COMMAND
from tests.service.surprises import HOUR
from tests.vm.machine import Machine, Options

pytestmark = [pytest.mark.root, pytest.mark.vm]

GROUP = "239.1.1.1"
# From the first to the last of them nothing took the tunnel down.
STANDING = (
    "without IPv6", "read-only /etc", "an hour forward", "an hour back", "second", "without journald",
    "restart without D-Bus",
)  # fmt: skip
STOPPED = (
    "stop without D-Bus", "stop after a crash without D-Bus", "stop while it waits to come back",
    "stop after a refused file", "stop while it is full",
)  # fmt: skip
Observed = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def seen(package: None) -> Observed:
    """What the scenario saw, by step."""
    command = [sys.executable, "-m", "tests.service.surprises", "kernel", "250", "/vm/results/seen.jsonl"]
    with Machine(command, Options(systemd=True, limit=900.0, parameters=("ipv6.disable=1",))) as machine:
        status = machine.wait()
        lines = (machine.results / "seen.jsonl").read_text().splitlines()
        assert status == 0, machine.output().decode(errors="replace")[-4000:]
    return {found["step"]: found for found in map(json.loads, lines)}


@pytest.mark.parametrize("step", STANDING)
def test_nothing_is_lost_and_the_other_side_notices_nothing(seen: Observed, step: str) -> None:
    found, start = seen[step], seen["start"]
    assert (found["lost"], found["duplicates"]) == (0, 0)
    assert GROUP in found["joined"]
    assert found["ifindex"] == start["ifindex"]
    assert found["neighbor_uptime"] >= start["neighbor_uptime"]


def test_the_kernel_had_no_ipv6(seen: Observed) -> None:
    assert (seen["without IPv6"]["family"], seen["without IPv6"]["sysctls"]) == (False, False)


def test_a_reload_and_a_restart_write_nothing_to_etc(seen: Observed) -> None:
    found = seen["read-only /etc"]
    assert (found["writable"], found["reloaded"]) == (False, 0)
    assert found["pid"] != seen["without IPv6"]["pid"]


@pytest.mark.parametrize("step", ["an hour forward", "an hour back"])
def test_a_clock_that_is_set_changes_no_age_and_no_expiry(seen: Observed, step: str) -> None:
    before, after = seen[step]["before"], seen[step]["after"]
    assert after["healthy"]
    assert after["pid"] == before["pid"] == seen[step]["pid"]
    assert all(0 < after["ages"][name] - age < HOUR / 10 for name, age in before["ages"].items())
    assert 0 < after["expires_in"] <= 105


def test_a_second_one_is_refused_and_the_first_is_not_disturbed(seen: Observed) -> None:
    found = seen["second"]
    assert found["status"] == 1
    assert "/run/mcastd: another mcastd is running with this directory" in found["printed"]
    assert found["pid"] == seen["an hour back"]["pid"]


def test_without_journald_the_log_is_in_a_file_and_the_journal_says_so_later(seen: Observed) -> None:
    found = seen["without journald"]
    note = r"note: log: the journal accepts no records \(.*\): the last lines are in /run/mcastd/log"
    assert re.search(note, found["running"])
    assert re.search(note, found["started"])
    assert "note: log" not in found["after"]
    assert f"pruned  tunnel=gre1 group={BY_COMMAND}" in found["log"]
    assert found["log"].count("mcastd is ready") == 2
    assert "10.0.0.1 is not a multicast group" in found["refused"]
    assert re.search(r"the journal did not accept \d+ lines: lines=\d+ file=/run/mcastd/log", found["journal"])
    assert "the journal did not accept" not in found["journal"].rpartition(f"joined: tunnel=gre1 group={BY_COMMAND}")[2]


def test_there_was_no_d_bus(seen: Observed) -> None:
    assert seen["restart without D-Bus"]["bus"] != 0


@pytest.mark.parametrize("step", STOPPED)
def test_a_stop_prunes_says_goodbye_and_takes_everything_down(seen: Observed, step: str) -> None:
    found = seen[step]
    assert (found["joined"], found["neighbors"], found["sas"]) == ([], [], "")
    assert "gre1" not in found["links"]
    assert not {"ledger.json", "handover.json", "restarts"} & set(found["files"])


def test_a_refused_file_leaves_everything_standing_and_says_why(seen: Observed) -> None:
    found = seen["refused"]
    assert found["state"] == "failed"
    assert "10.0.0.1 is not a multicast group" in found["text"]
    assert found["joined"] == [GROUP]
    assert found["lost"] == found["before"]


def test_without_its_capabilities_it_starts_and_names_them(seen: Observed) -> None:
    found = seen["without capabilities"]
    for name in ("CAP_NET_ADMIN", "CAP_NET_RAW"):
        assert f"no {name}: mcastd cannot " in found["text"]
        assert f"a capability is missing: capability={name}" in found["journal"]


def test_a_sysctl_that_cannot_be_set_is_named_with_what_to_do(seen: Observed) -> None:
    text = seen["read-only /proc/sys"]["text"]
    assert "sysctl net/ipv4/conf/gre1/rp_filter = 2: Read-only file system; set it before" in text


def test_a_full_runtime_directory_is_named_and_it_goes_on_when_there_is_room(seen: Observed) -> None:
    found = seen["full"]
    assert found["started"] == 0
    assert "/run/mcastd/ledger.json: No space left on device" in found["text"]


def test_it_starts_without_access_to_charon_and_without_a_route(seen: Observed) -> None:
    assert re.search(r"charon does not answer on \S+: Permission denied", seen["without a route"]["refused"])


def test_sighup_while_it_starts_does_not_end_it(seen: Observed) -> None:
    assert seen["SIGHUP"]["pid"] == seen["SIGHUP"]["before"]
