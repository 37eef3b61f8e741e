"""What is for AWS: the CloudFormation template, judged by cfn-lint, and the hook, with a command line in its place."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcastd.members.file import Groups, parse

ROOT = Path(__file__).parents[2]
AWS = ROOT / "packaging" / "aws"
# Its Python and not its script, which names the folder that it was installed in.
LINT = ROOT / ".cache" / "cfn-lint" / f"{sys.version_info[0]}.{sys.version_info[1]}" / "bin" / "python"


def test_the_template_has_no_fault_that_cfn_lint_knows() -> None:
    command = [
        str(LINT),
        "-c",
        "import cfnlint.runner; cfnlint.runner.main()",
        "--include-checks",
        "I",
        "--regions",
        "us-east-1",
        "eu-west-1",
    ]
    done = subprocess.run(
        [*command, "--", str(AWS / "transit-gateway-multicast.yaml")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.fixture
def cloud(tmp_path: Path) -> Path:
    """A folder with an ``aws`` that prints ``answer``, or fails without it, and notes what it was asked."""
    aws = tmp_path / "aws"
    aws.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" > {tmp_path}/asked\nexec cat {tmp_path}/answer\n')
    aws.chmod(0o755)
    return tmp_path


def hook(cloud: Path, **environment: str) -> int:
    return run(cloud, **environment).returncode


def run(cloud: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    found = {"PATH": f"{cloud}:{os.environ['PATH']}", "MEMBERS_FILE": str(cloud / "members.json"), **environment}
    command: list[str | Path] = [sys.executable, AWS / "mcastd-members.py"]
    return subprocess.run(command, env=found, check=False, stderr=subprocess.PIPE, text=True)


def written(cloud: Path) -> list[str]:
    found: Groups = {}
    for _ in parse((cloud / "members.json").read_bytes(), found):
        pass
    assert all(desired.any_source for desired in found.values())
    return [str(group) for group in found]


def test_the_hook_writes_what_mcastd_reads(cloud: Path) -> None:
    groups = ["239.1.7.2", "239.1.7.1", "239.1.7.1", "232.1.1.1", "ff3e::1"]
    members = [{"GroupIpAddress": group, "GroupMember": True, "MemberType": "igmp"} for group in groups]
    (cloud / "answer").write_text(json.dumps({"MulticastGroups": members}))
    assert hook(cloud, MULTICAST_DOMAIN="tgw-mcast-domain-1") == 0
    assert written(cloud) == ["239.1.7.1", "239.1.7.2"]
    asked = (cloud / "asked").read_text()
    assert "--transit-gateway-multicast-domain-id tgw-mcast-domain-1" in asked
    (cloud / "answer").write_text('{"MulticastGroups": []}')
    assert hook(cloud, MULTICAST_DOMAIN="tgw-mcast-domain-1") == 0
    assert written(cloud) == []


def test_a_file_that_cannot_be_written_is_said_in_one_line(cloud: Path) -> None:
    (cloud / "answer").write_text('{"MulticastGroups": []}')
    done = run(cloud, MULTICAST_DOMAIN="tgw-mcast-domain-1", MEMBERS_FILE=str(cloud / "none" / "members.json"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "No such file or directory" in done.stderr


@pytest.mark.parametrize("answer", [None, "", "[]", '{"MulticastGroups": [{"GroupIpAddress": "none"}]}'])
def test_what_fails_leaves_the_file_as_it_was(cloud: Path, answer: str | None) -> None:
    before = '{"schema": 1, "groups": [{"group": "239.1.7.1"}]}'
    (cloud / "members.json").write_text(before)
    if answer is not None:
        (cloud / "answer").write_text(answer)
    assert hook(cloud, MULTICAST_DOMAIN="tgw-mcast-domain-1") == 1
    assert hook(cloud) == 2
    assert (cloud / "members.json").read_text() == before
