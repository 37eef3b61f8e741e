"""``mcastd listen``: joins a group as an application does, and counts what an application gets.

::

    receive    the sockets, and their packets in the order of the kernel's timestamps
    counts     what one stream is like, as the meter counts it (pure)
    pair       the two sides of a feed, number by number, as the meter compares them (pure)
    listener   packets in, report out (pure)
    report     the frozen structs that are shown
"""
