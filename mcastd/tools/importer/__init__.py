"""``mcastd import``: strongSwan's own configuration to ``mcastd.toml``, with notes on what was not imported.

The readers make drafts of peers from texts: ``ipsecconf.py``, ``secrets.py`` and ``conns.py`` for the formats of
strongSwan's starter, ``swanctl.py`` for swanctl.conf; ``settings.py`` converts values for both. ``write.py`` makes TOML
of the drafts. Only ``files.py`` reads files. Secrets are in fields that no representation shows.
"""
