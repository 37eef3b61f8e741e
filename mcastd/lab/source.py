"""The source: UDP datagrams with a sequence number and a timestamp, at a constant rate, to one or more groups.

Run as a process. Payload: sequence number (64 bits), nanoseconds of CLOCK_MONOTONIC (64 bits), zeros.
"""

import argparse
import socket
import struct
import time

HEADER = struct.Struct("!QQ")
_TTL = 32


def stream(sock: socket.socket, groups: list[tuple[str, int]], rate: float, size: int, began: int) -> None:
    """Send ``rate`` datagrams of ``size`` bytes per second to each group; does not return.

    Number 0 was due at ``began`` (CLOCK_MONOTONIC, nanoseconds): two sources that have it in common send the same.

    After a late wake-up all datagrams that are due are sent, so that the mean rate does not depend on the scheduler.
    """
    padding = bytes(size - HEADER.size)
    sequence = int((time.monotonic_ns() - began) * rate / 1e9)
    while True:
        # Once per iteration: without a vDSO (user-mode Linux) this system call is the most expensive after sendto.
        now = time.monotonic_ns()
        due = int((now - began) * rate / 1e9) + 1
        while sequence < due:
            datagram = HEADER.pack(sequence, now) + padding
            for group in groups:
                sock.sendto(datagram, group)
            sequence += 1
        time.sleep(max(0.0, (began - now) / 1e9 + sequence / rate))


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m mcastd.lab.source", description=__doc__)
    parser.add_argument("groups", nargs="+")
    parser.add_argument("--source", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, default=1000.0, help="datagrams a second for each group")
    parser.add_argument("--size", type=int, default=500, help="bytes of UDP payload")
    parser.add_argument("--began", type=int, metavar="NS", help="when number 0 was due; default: now")
    args = parser.parse_args()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, _TTL)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(args.source))
    sock.bind((args.source, 0))
    stream(sock, [(group, args.port) for group in args.groups], args.rate, args.size, args.began or time.monotonic_ns())


if __name__ == "__main__":
    main()
