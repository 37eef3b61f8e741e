"""``mcastd doctor``: walks the path hop by hop and names the first that is broken.

Theory of operation. ``collect`` looks once at everything, for a second and a half: the configuration, the host, two
snapshots of the daemon's status, and what passes on the tunnels meanwhile. What it saw are ``facts``, frozen. Each hop
is a pure function from facts to a finding or None, in the order in which the path is set up and a packet passes, so
that the first broken hop is the cause, and what is behind it only its consequence:

    configuration, privilege, kernel, daemon, charon, IKE, children, leak guard, GRE, MTU, keepalives,   (``path``)
    PIM neighbour, RP, joins, packets on the tunnel, packets at an application                       (``multicast``)

A finding says what was seen, what that means, and what to change, on this side or on the other; the words of all of
them are in ``advice``.
"""
