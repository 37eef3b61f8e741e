"""GRE interfaces (RFC 2784, RFC 2890) of the kernel or, if it has no GRE, over a TUN interface; and XFRM interfaces.

Theory of operation. ``agent.TunnelAgent`` derives a ``LinkDesired`` for each tunnel, and ``host.Host`` makes the link
match it: at start, on reload, when a CHILD_SA comes up or goes down, when the kernel reports a change of links,
addresses, routes or rules, and every 30 s.

A link is made at once, so that applications can join on it, but set up only when its CHILD_SA is up: before that, and
with GRE in user space also while the CHILD_SA is down, nothing may leave through it.

An XFRM interface is below a GRE link, or in its place. It is up from the start: without an SA it drops what is sent
into it, so that GRE cannot take another path. Routes (``routes``, pure, and ``routing``) lead through links that are
up, and carry the mark of mcastd; the kernel deletes them with the link.

What another program has changed is repaired and logged. Whether packets to the peers and to the far ends leave this
host as they should is looked at with each change as well (``ways``); what leads them elsewhere is a problem in status.
"""
