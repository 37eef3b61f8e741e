"""Multicast from tunnels to machines behind this host, by the kernel's multicast routing.

    desired.py   what the agent is configured with, and what other agents see of it
    plan.py      who wants a group -> its entries in the kernel
    table.py     VIFs and entries as the kernel has them -> the changes that make them as planned
    upstream.py  who wants a group -> what is desired of it from the tunnels
    inherited.py what the previous process forwarded, until the hosts have said again what they want
    agent.py     the socket, the interfaces of this host, and who wants what

Everything that is forwarded has its entry before the first packet comes: (*,G), and (S,G) for each source that some
interface names. What no entry is for is dropped by a (*,*) entry for each VIF. So the kernel has nothing to ask.
"""
