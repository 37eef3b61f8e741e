"""The source: UDP datagrams with a sequence number and the time of sending, at an even pace, to one or more groups.

Run as a process. Payload: sequence number (64 bits), nanoseconds of CLOCK_MONOTONIC (64 bits), zeros.
"""

import argparse
import socket
import struct
import time

HEADER = struct.Struct("!QQ")
_TTL = 32


def stream(sock: socket.socket, groups: list[tuple[str, int]], rate: float, size: int) -> None:
    """Send ``rate`` datagrams of ``size`` bytes a second to each group, for ever.

    A late wake-up sends what has become due meanwhile: the pace holds in the mean, whatever the scheduler does.
    """
    padding = bytes(size - HEADER.size)
    sequence = 0
    began = time.monotonic_ns()
    while True:
        # Once a turn: in a virtual machine without vDSO it is the dearest call but for the sending.
        now = time.monotonic_ns()
        due = int((now - began) * rate / 1e9) + 1
        while sequence < due:
            datagram = HEADER.pack(sequence, now) + padding
            for group in groups:
                sock.sendto(datagram, group)
            sequence += 1
        time.sleep(max(0.0, (began - now) / 1e9 + sequence / rate))


def main() -> None:
    """Read the command line and send."""
    parser = argparse.ArgumentParser(prog="python -m mcastd.lab.source", description=__doc__)
    parser.add_argument("groups", nargs="+")
    parser.add_argument("--source", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, default=1000.0, help="datagrams a second for each group")
    parser.add_argument("--size", type=int, default=500, help="bytes of UDP payload")
    args = parser.parse_args()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, _TTL)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(args.source))
    sock.bind((args.source, 0))
    stream(sock, [(group, args.port) for group in args.groups], args.rate, args.size)


if __name__ == "__main__":
    main()
