#!/usr/bin/python3
"""Write which groups the members of a Transit Gateway's multicast domain want, for members_file of mcastd.

It runs in mcastd-members.service, as no user of ours, with the command line of AWS (aws) and the instance's role, which
needs ec2:SearchTransitGatewayMulticastGroups. Install it as /usr/local/sbin/mcastd-members, mode 755, and set in
/etc/default/mcastd-members:

    MULTICAST_DOMAIN=tgw-mcast-domain-0123456789abcdef0
    AWS_DEFAULT_REGION=eu-west-1

What fails leaves the file as it was; mcastd shows it as too old after members_max_age.
"""

import json
import os
import subprocess
import sys
from ipaddress import IPv4Network, ip_address
from pathlib import Path

FILE = Path(os.environ.get("MEMBERS_FILE", "/run/mcastd-members/members.json"))
SSM = IPv4Network("232.0.0.0/8")  # the gateway knows no sources, without which these cannot be joined


def members(domain: str) -> set[str]:
    """The groups that have a member, by IGMP or registered."""
    filters = "Name=is-group-member,Values=true"
    search = ("aws", "ec2", "search-transit-gateway-multicast-groups", "--output", "json")
    command = (*search, "--transit-gateway-multicast-domain-id", domain, "--filters", filters)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=50)
    groups = {ip_address(one["GroupIpAddress"]) for one in json.loads(done.stdout)["MulticastGroups"]}
    return {str(group) for group in groups if group.version == 4 and group not in SSM}


def main() -> int:
    """Write the file under another name, and move it to its place."""
    domain = os.environ.get("MULTICAST_DOMAIN")
    if not domain:
        print("mcastd-members: set MULTICAST_DOMAIN in /etc/default/mcastd-members", file=sys.stderr)  # noqa: T201
        return 2
    try:
        groups = [{"group": group} for group in sorted(members(domain))]
        new = FILE.with_suffix(".new")
        new.write_text(json.dumps({"schema": 1, "groups": groups}, indent=1) + "\n")
        new.replace(FILE)
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError) as error:
        print(f"mcastd-members: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
