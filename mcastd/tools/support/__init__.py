"""``mcastd support``: diagnostics for a support request in one archive, without secrets.

``collect`` runs commands and reads files, each with a limit of time and size, and needs no running daemon.
``redact`` removes secrets from everything that is collected. ``contents.txt`` in the archive lists what is in it, and
what is not available and why.
"""
