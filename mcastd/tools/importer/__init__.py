"""strongSwan's own configuration to ``mcastd.toml``, and what of it cannot be carried over.

Texts become drafts of peers by the reader for their kind (``ipsecconf.py``, ``secrets.py`` and ``conns.py``, or
``swanctl.py``), drafts become TOML in ``write.py``. Whatever a reader leaves out it notes, with file and line. Secrets
are in fields that show in no text. Only ``files.py`` touches the world.
"""
