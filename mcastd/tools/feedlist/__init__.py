"""``mcastd import --feeds``: an exchange's own list of its multicast to ``[[groups]]`` and ``[[feeds]]``.

``markup.py`` reads XML, in which ``connectivity.py`` knows the elements of CME's and MOEX's files; ``columns.py`` reads
CSV. Both make entries, one for each multicast address; ``draft.py`` makes feeds of them, with A and B together, and
``write.py`` TOML. All are pure: the command reads and writes the files.
"""
