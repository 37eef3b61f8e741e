"""The units: what systemd makes of them, and that no directive is newer than Ubuntu 22.04's 249."""

import re
import subprocess
from pathlib import Path

import pytest

PACKAGING = Path(__file__).parents[2] / "packaging"
UNITS = sorted(one for kind in ("*.service", "*.timer", "*.d/*.conf") for one in PACKAGING.glob(f"systemd/{kind}"))
OLDEST = 249
# The version of systemd that brought each (its NEWS); 0 is older than what anybody runs.
SINCE = {
    "AccuracySec": 209, "After": 0, "AmbientCapabilities": 229, "BindPaths": 233, "CapabilityBoundingSet": 0,
    "ConditionFileIsExecutable": 0, "ConditionPathExists": 0,
    "Description": 0, "DeviceAllow": 208, "DevicePolicy": 208, "Documentation": 0, "DynamicUser": 232,
    "Environment": 0, "EnvironmentFile": 0, "ExecReload": 0, "ExecStart": 0,
    "ExecStartPost": 0, "ExecStop": 0, "FileDescriptorStoreMax": 219, "Group": 0, "LimitCORE": 0, "LimitNOFILE": 0,
    "LockPersonality": 235,
    "MemoryDenyWriteExecute": 231, "NoNewPrivileges": 187, "OnActiveSec": 0, "OnUnitInactiveSec": 0,
    "PartOf": 0, "PrivateDevices": 209, "PrivateMounts": 239,
    "PrivateTmp": 0, "ProtectClock": 245, "ProtectControlGroups": 232, "ProtectHome": 214,
    "ProtectHostname": 242, "ProtectKernelLogs": 244, "ProtectKernelModules": 232, "ProtectKernelTunables": 232,
    "ProtectProc": 247,
    "ProtectSystem": 214, "ReadWritePaths": 231, "RemainAfterExit": 0, "RemoveIPC": 232, "Restart": 0,
    "RestartKillSignal": 244, "RestartPreventExitStatus": 189, "RestartSec": 0, "RestrictAddressFamilies": 211,
    "RestrictNamespaces": 233, "RestrictRealtime": 231, "RestrictSUIDSGID": 242, "RuntimeDirectory": 211,
    "RuntimeDirectoryMode": 211, "RuntimeDirectoryPreserve": 235, "StartLimitIntervalSec": 230,
    "SupplementaryGroups": 0,
    "SystemCallArchitectures": 209, "SystemCallErrorNumber": 209, "SystemCallFilter": 187, "TasksMax": 227,
    "TimeoutStartSec": 188, "TimeoutStopSec": 188,
    "Type": 0, "UMask": 0, "User": 0, "WantedBy": 0, "Wants": 0, "WatchdogSec": 0,
}  # fmt: skip


def directives(unit: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"(?m)^(\w+)=(.*)$", unit.read_text()):
        found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: f"{unit.parent.name}/{unit.name}")
def test_no_directive_is_newer_than_what_the_oldest_system_has(unit: Path) -> None:
    assert {name: since for name in directives(unit) if (since := SINCE[name]) > OLDEST} == {}


def test_its_exposure_is_small_and_it_filters_none_of_its_own_traffic() -> None:
    unit = PACKAGING / "systemd" / "mcastd.service"
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", str(unit)], capture_output=True, text=True, check=True
    )
    found = re.search(r"Overall exposure level for mcastd\.service: ([\d.]+)", done.stdout)
    assert found is not None
    assert float(found[1]) <= 1.9
    assert not {"IPAddressDeny", "PrivateNetwork", "PrivateUsers", "IPIngressFilterPath"} & directives(unit).keys()


def test_what_asks_the_cloud_has_no_capability_no_user_and_one_folder() -> None:
    unit = PACKAGING / "systemd" / "mcastd-members.service"
    found = directives(unit)
    assert found["CapabilityBoundingSet"] == found["AmbientCapabilities"] == [""]
    assert (found["DynamicUser"], found["ReadWritePaths"]) == (["yes"], ["/run/mcastd-members"])
    assert found["User"] != found["SupplementaryGroups"]  # a group alone may not have the name of a dynamic user
    (group,) = found["SupplementaryGroups"]
    assert f"g {group} -" in (PACKAGING / "sysusers.d" / "mcastd.conf").read_text()
    assert f"d /run/mcastd-members 0775 root {group}" in (PACKAGING / "tmpfiles.d" / "mcastd.conf").read_text()
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", str(unit)], capture_output=True, text=True, check=True
    )
    exposure = re.search(r"Overall exposure level for mcastd-members\.service: ([\d.]+)", done.stdout)
    assert exposure is not None
    assert float(exposure[1]) <= 2.0


def test_it_has_the_two_capabilities_and_no_more() -> None:
    for name in ("mcastd.service", "mcastd-cleanup.service"):
        found = directives(PACKAGING / "systemd" / name)
        assert found["CapabilityBoundingSet"] == found["AmbientCapabilities"] == ["CAP_NET_ADMIN CAP_NET_RAW"]
        assert found["User"] == ["mcastd"]


def test_measuring_streams_takes_one_capability_and_one_system_call() -> None:
    assert directives(PACKAGING / "systemd" / "mcastd.service.d" / "streams.conf") == {
        "AmbientCapabilities": ["CAP_BPF"],
        "CapabilityBoundingSet": ["CAP_BPF"],
        "SystemCallFilter": ["bpf"],
    }


def test_it_has_limits_and_no_core_with_keys_in_it() -> None:
    found = directives(PACKAGING / "systemd" / "mcastd.service")
    assert (found["LimitNOFILE"], found["LimitCORE"], found["TasksMax"]) == (["16384"], ["0"], ["64"])
