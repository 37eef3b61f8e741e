"""PIM-SM (RFC 7761) for a leaf router: it joins upstream for receivers on, or behind, this host.

Theory of operation. Every tunnel with PIM is a point-to-point link to its own data centre, so all state is kept by
interface and nothing passes from one to another:

    packet, messages, auto_rp_packet   bytes <-> frozen structs
    neighbor, hello_pace, hello_timer   the routers whose Hellos were received, and when the next is overdue; when ours
                 are sent (section 4.3)
    rp, bootstrap_rps, auto_rp_cache   which rendezvous point serves a group (section 4.7, RFC 5059, pim-autorp-spec01)
    awaited      the groups that are joined and of which no packet has come yet
    upstream     what the upstream neighbour has been sent, and when it is sent again (section 4.5)
    join_prune_packing, pacing   group sets -> few Join/Prune messages (section 4.9.5), sent at a bounded rate
    interface    one link: all of the above together
    router       all links: the machine that the agent drives
    report       the machine's state as frozen snapshots
    agent, link  the modules with sockets, a clock and a log

The machine is level-triggered: ``upstream`` compares what is desired (``mcastd.wanted``) with what the neighbour has
been sent, and sends the difference. A neighbour that is new, or that has restarted, has been sent nothing.
"""
