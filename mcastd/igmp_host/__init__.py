"""The host side of IGMP on tunnels with ``upstream = "igmp"``: the other side has an IGMP querier there, and no PIM.

What is desired on such a tunnel is joined by sockets on its interface, and IGMP itself is the kernel's: it merges them
with those of applications, reports every change, and answers the queries of routers of all versions. Applications have
sockets of their own; what only they desire is not joined a second time, or it would never end. Each socket takes a few
groups (``igmp_max_memberships``), and of each group a few sources (``igmp_max_msf``), so that there are many. They
receive nothing, being bound to no port.

A socket that is closed leaves its groups, which the other side may act on at once. So all are in systemd's descriptor
store, and outlive a restart and a crash. The next process cannot ask a socket what it has joined: it joins everything
again, which the kernel merges with what is joined, and closes the inherited ones a minute later, when machines behind
this host have had the time to report to it.

On other tunnels the sockets hold the groups that several tunnels carry (``held``): the kernel hands a packet to a
socket that has joined its group on any interface (IP_MULTICAST_ALL = 1, the default), but only where the group is
joined on the interface by which it came. So an application that has joined on one tunnel receives by the other one too.
The guard keeps the kernel's reports of these from leaving.
"""
