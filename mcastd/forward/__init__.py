"""Multicast from tunnels to machines behind this host, by the kernel's multicast routing.

    desired.py    what the agent is configured with, and what status sees of it
    admission.py  which groups an interface gets, and what of them
    plan.py       who wants a group -> its entries in the kernel
    table.py      VIFs and entries as the kernel has them -> the changes that make them as planned
    groups.py     all groups: what changed is planned, and desired from the tunnels
    inherited.py  what the previous process forwarded, until the hosts have said again what they want
    reading.py    the kernel's entries with their counters, and what differs
    kernel.py     what the agent uses of the kernel
    agent.py      the socket, and the interfaces of this host

Everything that is forwarded has its entry before the first packet comes: (*,G), and (S,G) for each source that some
interface names. What no entry is for is dropped by a (*,*) entry for each VIF. So the kernel has nothing to ask.
"""
