"""One nftables table: the guard, SNAT into the selectors of a CHILD_SA, and clamping of TCP's MSS.

A CHILD_SA is one pair of IPsec SAs, in and out, as charon negotiates it for the traffic between two selectors.

Theory of operation. ``rules.table(config)`` makes the whole table from the configuration alone, whatever is up or down.
``agent.FirewallAgent`` replaces it in one transaction, restores it when the kernel reports that another program changed
it, and removes it at the end. The table is in place before any other agent can send, and is removed after all of them.

::

    arriving   prerouting: MSS of what a CHILD_SA carries;  input: GRE that was not decrypted is dropped
    leaving    postrouting: SNAT, then MSS; IGMP, and GRE and what a CHILD_SA is for that will not be encrypted, are
               dropped

The outbound guard is in postrouting, after SNAT, because SNAT may bring a packet under an IPsec policy or out of it,
and because all packets pass there: those of the kernel's GRE, of any kind of raw socket, and forwarded ones. A route
with a transformation (``rt ipsec exists``) means that an IPsec policy applies. ESP in user space and XFRM interfaces
have no such policy at that point; they are recognised by the interface, and neither lets a packet out without an SA.
Without GRE (``encapsulation = "none"``) no guard of GRE is needed: what is sent into an XFRM interface is encrypted or
dropped, and what arrives in the clear arrives on another interface. ``child_guard`` says what a CHILD_SA is for,
``guard_drops`` when it is a problem that the guard drops it, ``flows`` which connections began before SNAT was there.

On tunnels with PIM the kernel's own IGMP reports must not reach the other side: a router that processes them keeps
sending what PIM has pruned.
"""
