"""``mcastd doctor``: walks the path hop by hop and names what is broken.

Theory of operation. ``collect`` observes everything once, for 1.5 seconds: the configuration, the host, the daemon's
status at the beginning and the end, and what passes on the tunnels meanwhile. The results are ``facts``, frozen. Each
hop is a pure function in ``hops``, which yields what it found in the facts. ``walk`` calls the hops in the order in
which the path is set up and a packet passes it, so that of each path, a tunnel with its CHILD_SA and peer, the first
finding is the cause, and what is behind it only its consequence.

A problem is declared once, as a ``finding.Cause`` beside the hop that finds it: its code, which side has to change
something, what it means, and what to change. docs/doctor.md lists the causes, and a test compares it with them.
"""
