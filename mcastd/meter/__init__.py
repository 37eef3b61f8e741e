"""What each stream is like, packet by packet: gaps, bursts and sequence numbers, found out by a program in the kernel.

Theory of operation. A BPF program (``program``), assembled from a listing in Python and loaded without a compiler or a
library, is a classifier on the ingress of each tunnel. It finds the entry of the packet's stream in a map, and brings
it up to date; it changes and drops nothing. ``agent.MeterAgent`` loads and attaches it, and reads the map when a
command asks. The map is in systemd's file descriptor store: a restart attaches the next process's program in place of
the one before, between two packets, and it goes on with the same entries.

It takes CAP_BPF. Without it nothing here is done, and status says what is not measured::

    desired       what the agent is configured with
    packet        the keys and values of the maps
    maps          the maps
    program       the listing; listing and sequence are parts of it
    pair_program  the listing that compares the two sides of a pair
    report        values of the map as status shows them
"""
