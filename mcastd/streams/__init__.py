"""What arrives: on each tunnel, of each stream, and from each CHILD_SA; and what follows when it ends.

A stream is what arrives on one tunnel from one source for one group and UDP port.

Theory of operation. An nftables table of its own (``table``) counts before any rule of the host can drop: the multicast
of each tunnel and what each CHILD_SA has decrypted in named counters, the streams in a set, whose elements have a
counter and the time of the last packet. The kernel counts, whether mcastd runs or not; a restart changes nothing.
``agent.StreamsAgent`` keeps the table in place and reads it by netlink, right after each full second: the named
counters and, for what is recorded, the set. The streams are worked off when these show that there may be something
new (``tunnels``), or after some seconds.

The machines are sans-IO and take ``now``::

    monitor.Monitor    all that arrives; it has the others but for losses
    stream.Stream      one stream: does it carry a packet a second, since when is it silent
    acceptance, delivery   what this host has passed on of a stream, and whether it passes on what arrives by a tunnel
    losses             where packets of a group were lost
    history.History    what had been counted of each stream at earlier times, for 25 hours
    recorder.Recorder  what streams carried in each of the last ten minutes' seconds
    tunnels.Tunnel     all streams of a tunnel together: all_silent, nothing_ever_arrived
    interfaces.Interface   one tunnel where nftables is missing, as one stream
    limits, feeds.Feeds    silence of groups and of feeds beyond max_silence, in the hours of schedule.Schedule
    rows.Rows          what has arrived, for status
    decryption.Child   one CHILD_SA: seen, quiet, receiving; child_sa_silent
"""
