"""GRE interfaces (RFC 2784, RFC 2890): planned purely, built by netlink or, where the kernel has no GRE, over a TUN.
XFRM interfaces below them, or in their place.

Theory of operation. ``plan.plan(wanted, found)`` compares what one link should be with what the host shows and
answers with the difference as actions; ``agent.TunnelAgent`` reads the host, asks the plan and carries it out, at
start, on reload, when a child comes up or goes, when the kernel reports a change of links or addresses, and every 30 s.

The link is made at once, so that applications can already join on it, but set up only when its child is: before that,
and for the TUN also while the child is down, nothing may leave through it.

An XFRM interface is up from the start: without an SA it drops what is sent into it, which is what keeps GRE from going
another way. Routes (``routes``, pure, and ``routing``) go through a link that is up, marked as ours; the kernel removes
them with the link.
"""
