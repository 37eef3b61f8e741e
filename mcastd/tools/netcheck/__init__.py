"""``mcastd netcheck``: what of the way to a peer works before there is a configuration.

Theory of operation. An IKE_SA_INIT request needs no secret, and every IKE responder answers it, if only with a refusal.
One goes to UDP port 500 and one to 4500. An answer that is not a refusal has hashes of both ends' addresses (NAT
detection: RFC 7296, section 2.23): they say whether there is a NAT, and whether a candidate for the public address is
the right one. Then requests that no peer can accept, padded and with DF set, find what size of packet gets there: they
leave no half-open SA behind.

``packet`` is the codec, with scapy; ``report`` makes findings of what was observed; both are pure. ``probe`` has the
sockets, ``host`` looks at this machine. The daemon imports none of this.
"""
