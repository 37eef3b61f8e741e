"""Multicast to many machines over a network that carries none: VXLAN, of which the kernel sends each endpoint a copy.

    desired.py      what the agent is configured with
    plan.py         which machines want a group -> the entries in the kernel
    replication.py  all groups of one overlay: what is desired, and what of it the kernel does not have
    endpoints.py    by which endpoint each host is reached, and which endpoints may take part
    report.py       an overlay as status shows it
    kernel.py       what the agent uses of the kernel
    agent.py        the VXLAN device, and its entries

An overlay is an interface like those of ``[forward.NAME]``: IGMP is spoken on it, and multicast is routed to it. What a
packet then costs is decided here: the kernel sends it to those endpoints that an entry names, and to no other.

A report of IGMP has come by VXLAN from some endpoint, and the kernel remembers by which one its Ethernet address is
reached. So IGMP's host, its Ethernet address and the endpoint are known, and nothing has to be configured but who may
take part.

Our queries have to reach machines of which nothing is known yet. They go to every single address in ``members``, to
those of prefixes as long as these have few, and to every endpoint that was ever heard.

The entries stay in the kernel when mcastd ends. The next process removes none before the machines have had the time to
say what they want.
"""
