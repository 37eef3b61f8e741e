"""Keeping the configured children up through charon.

Theory of operation
===================

mcastd alone initiates. charon gets connections (``load-conn``) and keys (``load-shared``) over VICI, with its own
start, close and DPD actions off, and otherwise only does what it is told. The agent holds two connections: one for
commands and one on which charon reports events, which is always drained. An event tells that it is time to look, and
which SPI has its keys now (``early``). Every look lists the SAs and does the difference between that and what is
wanted, so a lost event costs at most the 30 s until the next audit, and start, reload, adoption after a crash and
repair are the same code.

Each child:

    down  --due-->  connecting  --listed as installed-->  up  --not listed-->  down (due at once, then by back-off)
                        |
                        +--refused, timeout-->  waiting (back-off with jitter)  --due-->  connecting

- One attempt is in flight per child, and until the IKE_SA is up one per peer: concurrent ``initiate`` commands could
  make two IKE_SAs. Each runs on a connection of its own, whose ``control-log`` tells how it goes (``failure``).
- ``initiate`` always has a timeout. What it leaves half open is terminated, or charon would go on with it beside the
  next.
- Two SAs for one child are normal during a rekey and pruned when they stay (``prune``).
- An SA depends on addresses, identities, algorithms and selectors. They are written into the ledger as they are
  loaded, so a reload, or a start after a crash with another file, takes down exactly what the new file would not have
  made. It does not depend on keys and certificates: rotated ones are loaded, and used by the next authentication.
- charon is gone when its socket is absent, refuses or closes, and nothing is up then. An answer that cannot be read, or
  stays away for a while, leaves everything as it was seen last (``contact``).
- What the other side sends by a new SA before its keys are here is kept, and received once more when they are
  (``early``).
- A connection in charon that the ledger does not know is somebody else's: it is not touched, and status says so.

The rooms: ``vici`` (client), ``messages`` and ``credentials`` (Config <-> VICI), ``failure`` (log lines -> words),
``attempt`` (back-off), ``state`` (what is known, and status), ``contact`` (charon itself), ``prune`` (duplicates),
``early`` and ``giving_back`` (ESP that comes before its keys), ``listing``, ``loading``, ``going``
(taking down), ``agent``.
"""
