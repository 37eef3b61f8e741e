"""What applications on this host have joined on a tunnel's interface is joined upstream.

Theory of operation. The kernel knows which groups, and which sources of them, the sockets of this host want on an
interface; mcastd follows that (``applications``) and desires the same upstream, as the origin ``application`` of
``mcastd.wanted``. It holds no membership of its own, so that nothing depends on it but the Joins.

Whatever says that something has changed is a hint alone, upon which the files of the kernel are read:

    netlink       group 37 (Linux 6.14): at the setsockopt of the first that joins a group and the last that leaves it
    reports       the kernel's own IGMPv3 reports, on their way out: up to 2 jiffies later; also changes of sources
    every 30 s    whatever was missed

The files are read once for all hints of a batch, before anything is desired: a (*,G) is never joined where sources are
asked for. What they leave open, whether any socket wants every source beside those that name some, the kernel answers
to a query of our own, which is sent with TTL 0: it is looped back, and not on the wire (``members``).

``scope`` says which groups are followed. The last application that leaves is followed after ``linger``.
"""
