"""PIM-SM (RFC 7761) for a leaf router: it joins upstream for who receives on, or behind, this host.

Theory of operation. Every tunnel with PIM is a link of its own, towards its own data centre, so all state is kept by
interface and nothing passes from one to another:

    packet, messages, bootstrap, auto_rp_packet   bytes <-> frozen dataclasses
    neighbor     who is on the link, and what the link's effective timers are (section 4.3)
    rp           which rendezvous point serves a group: static, or from Bootstrap messages (section 4.7, RFC 5059)
    auto_rp_cache  which one Auto-RP has
    membership   which groups and sources are wanted, and by whom
    upstream     what an upstream neighbour was told, and the Join Timers that make it be told again (section 4.5)
    asserts, rpf which upstream neighbour is whose: the link's, or an Assert's winner (sections 4.6 and 4.1.5)
    assemble     group sets -> as few Join/Prune messages as fit (section 4.9.5)
    interface    one link: all of the above together
    router       all links: the machine that the agent drives
    agent, link  the only rooms with sockets, a clock and a log

The machine is level-triggered too: ``upstream`` compares what is wanted with what the neighbour was told and sends the
difference. A neighbour that is new, or that forgot us, has been told nothing.
"""
