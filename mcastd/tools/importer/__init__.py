"""``mcastd import``: strongSwan's own configuration to ``mcastd.toml``, with notes on what is different.

One reader for each grammar, as its owner reads it: ``ipsecconf.py`` (starter), ``secrets.py`` (stroke), and for
swanctl.conf the parser that the daemon has for strongswan.conf. ``libreswan.py`` has its dialect in starter's words.
``conns.py`` and ``swanctl.py`` make drafts of peers, by the conversions of ``settings.py`` and with the key that
``keys.py`` chooses as charon does; ``write.py`` makes TOML of them. Only ``files.py`` reads files. Secrets are in
fields that no representation shows.
"""
