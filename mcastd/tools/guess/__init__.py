"""``mcastd streams GROUP --guess``: looks at some hundred packets of a group and says where their sequence number is.

::

    capture    the packets as they arrive; it joins nothing
    guess      the known formats first, then any number that counts (pure)
"""
