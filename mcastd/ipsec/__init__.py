"""IPsec: keeps the configured CHILD_SAs up through strongSwan's IKE daemon, charon.

Theory of operation
===================

A CHILD_SA ("child" in the configuration and in charon's words) is a pair of ESP SAs with their traffic selectors; an
IKE_SA is the authenticated channel to a peer on which CHILD_SAs are negotiated.

mcastd alone initiates. charon receives connections (``load-conn``) and keys (``load-shared``) over its VICI socket,
with its own start, close and DPD actions off, and does nothing by itself but rekeying. The agent holds two connections:
one for commands and one for charon's events, which is always read, since a client that does not read blocks charon. An
event only causes a look at charon, and says which SPI has its keys now. Every look lists the SAs and applies the
difference to the desired state. So a lost event costs at most the 30 s until the next audit; and start, reload, the
adoption of existing SAs after a crash, and repair are the same code.

Each CHILD_SA:

    down  --due-->  connecting  --listed as installed-->  up  --not listed-->  down (due at once, then by back-off)
                        |
                        +--refused, timeout-->  waiting (back-off with jitter)  --due-->  connecting

- One attempt is in flight per peer: concurrent ``initiate`` commands could make two IKE_SAs, and on one that the peer
  does not answer they would queue in charon. Each attempt has a connection of its own, whose ``control-log`` shows why
  it fails (``failure``).
- ``initiate`` always has a timeout, and one whose first request has no answer is given up after 5 s and begun again.
  What an attempt leaves half-open is terminated, or charon would continue with it beside the next attempt; so is an
  IKE_SA that has not answered in time, or charon would establish it again itself. That costs the CHILD_SAs that work,
  so a request that is ignored on one IKE_SA after the other is made ever more rarely (``backoff``).
- A CHILD_SA whose path is silent on all evidence is rekeyed, to see whether the peer answers; if not, the IKE_SA is
  terminated and established again (``probe``).
- A reauthentication or rekeying that failed while the old SA stands is a problem; charon's log alone has it
  (``renewals``).
- Two SAs for one CHILD_SA are normal during a rekeying, and terminated when they stay (``duplicate_sas``).
- An SA depends on addresses, identities, algorithms and selectors. They are recorded in the ledger when they are
  loaded. So a reload, or a start after a crash with another file, takes down exactly the SAs that the new file would
  not have made. An SA does not depend on keys and certificates: changed ones are loaded, and used by the next
  authentication.
- charon has ended when its socket is absent, refuses or closes; then nothing is up but the CHILD_SAs that decrypt
  packets all the same. When an answer cannot be read, or does not come for a while, the last listing counts
  (``charon_health``).
- ESP that arrives before the keys of its SA is kept, and replayed once they are installed (``early_esp``).
- Another program may remove from charon what was loaded, or replace it; a look every 5 s finds that out
  (``contents``), and it is loaded again (``loader``).
- A connection in charon that is not in the ledger belongs to another program: it is not touched, and is reported as a
  problem.

Modules: ``vici`` (the client), ``charon`` (its interface, and queries), ``messages`` and ``credentials`` (Config <->
VICI), ``failure`` (log lines -> causes), ``backoff``, ``state`` (what is known of each peer, and its status),
``charon_health``, ``duplicate_sas``, ``early_esp`` and ``esp_replay``, ``initiation`` (one attempt), ``attempts``
(those in flight), ``probe`` and ``restarts``, ``renewals``, ``loader``, ``contents`` and ``foreign``, ``loading``
(of one peer), ``sa_log`` (lines about SAs), ``teardown``, and ``agent``, which runs them.
"""
