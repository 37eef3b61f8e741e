"""IGMP for the router: which groups and sources the hosts on an interface desire (RFC 9776; RFC 2236; RFC 1112).

Theory of operation. Each downstream interface has a querier of its own, and nothing passes from one to another. The
codec is ``mcastd.net.igmp``:

    settings     the values of an interface, and the intervals made of them (section 8)
    group        the router's state of one group: filter mode, timers, queries for it (sections 6.2 to 6.6)
    members      which hosts have reported what (explicit host tracking)
    querier      one interface: election, general queries, limits, deadlines; the machine that the agent drives
    role         who queries and forwards, as a table of states
    flood        how much of one host's reports is read
    pim_routers  routers with PIM on the segment
    kernel       what the agent uses of the kernel; transport: the sockets of one interface
    passed_on    what is desired, on its way to ``Wanted``
    report       the state as frozen structs
    interface    what the agent knows of an interface
    agent        the module with a clock and a log

What is desired is written to ``Wanted`` with the origin ``hosts``. It is right whether we are the querier or not, so
that we can forward from the moment that the other router is gone.
"""
