"""One nftables table of ours: the leak guard, SNAT into a child's selectors, and the clamping of TCP's MSS.

Theory of operation. ``rules.table(config)`` makes the whole table from the configuration alone, whatever is up or down;
``agent.FirewallAgent`` replaces it in one transaction, looks after it when the kernel reports that somebody changed it,
and takes it away at the end. It is there before anything of ours could send, and goes after everything.

::

    arriving   prerouting: MSS of what a child carries;  input: GRE that nobody decrypted is dropped
    leaving    postrouting: SNAT, behind it MSS; IGMP, and GRE that nothing will encrypt, are dropped

The outbound guard sits behind SNAT in postrouting, because SNAT may bring a packet under an IPsec policy or out of it,
and because everything passes there: what the kernel's GRE makes, what a raw socket of whatever kind sends, what is
forwarded. A route with a transformation (``rt ipsec exists``) is an IPsec policy that holds. ESP in user space and XFRM
interfaces have none at that point; there it is the interface that tells, and neither lets anything out without an SA.
Without GRE (``encapsulation = "none"``) there is nothing to guard: what enters an XFRM interface is encrypted or
dropped, and what arrives in the clear arrives on another interface.

Where we speak PIM, the kernel's own IGMP reports must not reach the other side: a router that takes them goes on
sending what PIM has pruned.
"""
