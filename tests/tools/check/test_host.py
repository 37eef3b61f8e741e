"""What is refused or noted of a file because of this host, its service and its routes."""

import os
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from msgspec.structs import replace

from mcastd.config.load import loads
from mcastd.errors import ConfigError
from mcastd.tools.check import check
from mcastd.tools.check.collect import unreadable
from mcastd.tools.check.facts import Facts, Interface
from tests.config.wrong.mistakes import Changes, written
from tests.config.wrong.tunnels import second

LOCAL = IPv4Address("10.1.1.246")
ETH0 = Interface("eth0", (LOCAL,))
LO = Interface("lo", (IPv4Address("127.0.0.1"),))
HERE = Facts(now=datetime(2026, 6, 1, tzinfo=UTC), interfaces=(LO, ETH0, Interface("eth1")), has_vici=True)
PSK = Path("/etc/mcastd/dc.psk")
FILE: Changes = {"peers.dc.psk_file": f'"{PSK}"'}
IN_SERVICE = replace(HERE, is_installed=True, has_service=True)


def said(changes: Changes, facts: Facts = HERE) -> tuple[list[str], list[str]]:
    """What is refused and what is noted beyond what the daemon finds, each as ``KEY: TEXT``."""
    notes: list[str] = []
    try:
        loaded = loads(
            written({**FILE, **changes}), Path("/etc/mcastd.toml"), check_files=False,
            further=lambda config, report: check(config, facts, report),
        )  # fmt: skip
    except ConfigError as error:
        return [f"{one.key}: {one.text}" for one in error.problems], notes
    return notes, [f"{one.key}: {one.text}" for one in loaded.notes]


def refused(changes: Changes, facts: Facts = HERE) -> str:
    (one,), _ = said(changes, facts)
    assert "; allowed: " in one
    return one


def noted(changes: Changes, facts: Facts = HERE) -> str:
    found, (one,) = said(changes, facts)
    assert found == []
    return one


def test_what_is_right_is_accepted() -> None:
    assert said({}) == ([], [])
    ours = Interface("gre1", (IPv4Address("10.44.4.6"),), is_ours=True)
    assert said({}, replace(HERE, interfaces=(*HERE.interfaces, ours))) == ([], [])


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"m\.toml:1: nothing is configured; allowed: at least one \[tunnels"):
        loads("# later\n", Path("m.toml"), further=lambda config, report: check(config, HERE, report))


def test_an_address_that_is_not_here() -> None:
    elastic = {"peers.dc.local": '"222.45.67.1"'}
    found = refused(elastic, replace(HERE, is_installed=True))
    assert found == (
        "peers.dc.local: 222.45.67.1 is no address of this host, whose addresses are private: "
        "an Elastic IP or the like belongs into local_id; allowed: 10.1.1.246 (eth0)"
    )
    assert noted(elastic).endswith("allowed: 10.1.1.246 (eth0), if the file is for this host")
    assert "Elastic" not in noted({"peers.dc.local": '"10.1.1.247"'})
    assert said(elastic, replace(HERE, interfaces=())) == ([], [])


def test_an_interface_that_is_not_ours() -> None:
    facts = replace(HERE, interfaces=(*HERE.interfaces, Interface("gre1")))
    assert refused({}, facts).startswith("tunnels.gre1: gre1 is an interface of this host, which mcastd has not made")
    assert said({"peers.dc.local": '"10.1.1.9"'}, facts)[0] == []  # the file is for another host


def test_an_address_that_another_interface_has() -> None:
    for address, what in (("10.44.4.6", "refused"), ("10.44.4.5", "refused"), ("10.44.4.7", "noted")):
        facts = replace(HERE, interfaces=(*HERE.interfaces, Interface("docker0", (IPv4Address(address),))))
        found = said({"tunnels.gre1.address": '"10.44.4.6/29"', "tunnels.gre1.peer_address": '"10.44.4.5"'}, facts)
        assert len(found[what == "noted"]) == (2 if address == "10.44.4.5" and what == "noted" else 1), found
        assert address in found[what == "noted"][0]


def test_an_endpoint_without_ipsec_is_an_address_of_this_host() -> None:
    plain = {"tunnels.gre1.child": None, "tunnels.gre1.local": '"10.1.1.9"'}
    assert refused(plain) == "tunnels.gre1.local: 10.1.1.9 is no address of this host; allowed: 10.1.1.246 (eth0)"
    assert (
        refused({**plain, "tunnels.gre1.child": "5"})
        == "tunnels.gre1.child: it is an integer; allowed: the name of a child"
    )


def test_a_port_that_the_service_may_not_have_and_an_address_that_is_not_here() -> None:
    assert "as root alone; allowed: 1024 to 65535" in refused({"metrics.listen": '"127.0.0.1:80"'})
    assert said({"metrics.listen": '"127.0.0.1:80"'}, replace(HERE, lowest_port=0)) == ([], [])
    assert "192.0.2.9 is no address of this host" in refused({"metrics.listen": '"192.0.2.9:9464"'})


def test_a_downstream_interface_that_is_not_here_yet() -> None:
    facts = replace(HERE, interfaces=(LO, ETH0))
    assert noted({}, facts) == "forward.eth1: this host has no interface eth1 yet; it has eth0, lo"


def test_charon_that_does_not_run() -> None:
    assert noted({}, replace(HERE, has_vici=False)).startswith("daemon.vici_socket: /run/charon.vici does not exist")


def test_ml_kem_needs_a_newer_charon() -> None:
    changes = {"peers.dc.proposals": '["aes256-sha256-x25519-ke1_mlkem768"]'}
    said_of = "peers.dc.proposals[0]: ke1_mlkem768 needs strongSwan 6.0 or newer, and "
    assert refused(changes, replace(HERE, charon="5.9.8")).startswith(f"{said_of}this is 5.9.8; allowed: ")
    assert noted(changes).startswith(f"{said_of}charon cannot be asked")
    assert said(changes, replace(HERE, charon="6.0.1")) == ([], [])


def test_files_that_the_service_cannot_read() -> None:
    facts = replace(IN_SERVICE, unreadable={PSK: PSK})
    assert "the user mcastd of the service cannot read /etc/mcastd/dc.psk; allowed: chgrp mcastd" in refused({}, facts)
    facts = replace(IN_SERVICE, unreadable={PSK: PSK.parent})
    assert "since /etc/mcastd is closed to it; allowed: " in refused({}, facts)
    assert "cannot read" in noted({}, replace(facts, is_installed=False))
    facts = replace(IN_SERVICE, unreadable={Path("/etc/mcastd.toml"): Path("/etc/mcastd.toml")})
    assert refused({}, facts).startswith(": the user mcastd of the service cannot read /etc/mcastd.toml")


def test_files_that_the_service_does_not_see(tmp_path: Path) -> None:
    facts = replace(IN_SERVICE, hidden=(Path("/root"), tmp_path))
    assert "is below /root, which the service does not see" in refused({"peers.dc.psk_file": '"/root/dc.psk"'}, facts)
    assert "is below /root" in refused({"forward.eth1.members_file": '"/root/members"'}, facts)
    (tmp_path / "file").touch()
    link = tmp_path.parent / "link-to-a-hidden-file"
    link.symlink_to(tmp_path / "file")
    assert f"is below {tmp_path}," in refused({"peers.dc.psk_file": f'"{link}"'}, facts)


def test_a_runtime_folder_that_the_service_cannot_write() -> None:
    assert "can write to /run/mcastd alone" in noted({"daemon.runtime_dir": '"/run/other"'}, IN_SERVICE)


@pytest.mark.root
def test_what_another_user_cannot_read(tmp_path: Path) -> None:
    """By a process that is that user; ``nobody`` here."""
    base = Path("/dev/shm") / f"mcastd-test-{os.getpid()}"  # folders that all users may enter
    folder = base / "closed"
    folder.mkdir(parents=True)
    base.chmod(0o755)
    try:
        for path, mode in ((base / "open", 0o644), (base / "secret", 0o600), (folder / "inside", 0o644)):
            path.touch()
            path.chmod(mode)
        (base / "link").symlink_to(folder / "inside")
        folder.chmod(0o700)
        names = [base / name for name in ("open", "secret", "closed/inside", "link", "missing")]
        assert unreadable(names, "nobody") == {
            base / "secret": base / "secret", folder / "inside": folder, base / "link": folder,
        }  # fmt: skip
    finally:
        for path in (*folder.iterdir(), *(one for one in base.iterdir() if one != folder)):
            path.unlink()
        folder.rmdir()
        base.rmdir()


def both(**keys: str) -> Changes:
    """Two tunnels with PIM."""
    tables = {"tunnels.gre2.pim.rp[0].address": '"100.16.0.9"', "groups[0].tunnel": '"gre1"'}
    return {**second(**keys), **tables, "forward.eth1": None}


def test_the_same_range_on_two_tunnels() -> None:
    found = noted({**both(), "tunnels.gre2.pim.rp[0].groups": '["239.0.0.0/8"]'})
    assert found == (
        "tunnels.gre2.routes: 239.0.0.0/8 is routed through gre1 too: an application that names no interface gets the "
        "tunnel that comes up first; name the interface in the application, as mcastd listen --interface does"
    )


def test_the_same_group_on_two_tunnels() -> None:
    group = {"groups[2].group": '"239.1.1.1"', "groups[2].tunnel": '"gre2"'}
    narrow = {**both(), **group, "tunnels.gre2.pim.rp[0].groups": '["239.1.0.0/16"]'}
    assert noted(narrow).startswith(
        "groups[2].group: 239.1.1.1 is joined on gre1 too: an application that names no interface gets gre2, "
        "whose route is longer"
    )
    of_its_own = {**both(route_table="1000"), **group, "tunnels.gre2.pim.rp[0].groups": '["239.0.0.0/8"]'}
    assert "gets gre2, whose route is in a table of its own" in noted(of_its_own)
    without = {
        **both(routes="[]"),
        **group,
        "tunnels.gre1.routes": "[]",
        "tunnels.gre2.pim.rp[0].groups": '["239.0.0.0/8"]',
    }
    assert "gets neither, since no route leads to them" in noted(without)


OVERLAY: Changes = {
    "overlay.vx0.vni": "7",
    "overlay.vx0.local": f'"{LOCAL}"',
    "overlay.vx0.address": '"10.99.0.1/24"',
    "overlay.vx0.members": '["10.1.2.0/24"]',
}


def test_an_overlay_is_carried_by_an_interface_of_this_host_that_has_room_for_it() -> None:
    wide = replace(HERE, interfaces=(LO, replace(ETH0, mtu=1500), Interface("eth1")))
    assert said(OVERLAY, wide) == ([], [])
    assert "198.51.100.9 is no address of this host" in refused({**OVERLAY, "overlay.vx0.local": '"198.51.100.9"'})
    assert "packets above 1450 bytes are fragmented: MTU of eth0 is 1500" in noted(
        {**OVERLAY, "overlay.vx0.mtu": "1451"}, wide
    )
    assert said({**OVERLAY, "overlay.vx0.mtu": "1450"}, wide) == ([], [])
    taken = replace(HERE, interfaces=(*HERE.interfaces, Interface("vx0")))
    assert "vx0 is an interface of this host, which mcastd has not made" in refused(OVERLAY, taken)
    misnamed = {key.replace("vx0", "eth0"): value for key, value in OVERLAY.items()}
    assert refused(misnamed).startswith("overlay.eth0: eth0 is an interface of this host"), "and has local all the same"
    owned = replace(HERE, interfaces=(*HERE.interfaces, Interface("eth2", (IPv4Address("10.99.0.1"),))))
    assert "10.99.0.1 is an address of eth2 already" in refused(OVERLAY, owned)
