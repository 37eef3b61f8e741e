"""``mcastd trace``: IKE, keepalives, PIM and IGMP as they pass, decoded for people or written as pcapng.

Theory of operation. One packet socket hears every interface, those included that come up later; its filter lets pass
what makes a path, IKE, PIM, IGMP and keepalives, also where GRE carries it, so that the feed never reaches Python. ESP
is counted by the kernel, on two sockets that nobody reads. ``scope`` says what of it belongs to the configuration.

So a keepalive is seen three times: the request in GRE, where ESP's inside shows; what was inside it, on the tunnel's
interface; and the answer. ESP's inside shows on the interface of user-space ESP or an XFRM interface, both ways. In
tunnel mode with the kernel's own policies it shows as it arrives, on the interface that ESP came in by.

The rooms: ``decode``, ``ike``, ``pim``, ``igmp`` (bytes to words) and ``pcapng`` are pure; ``scope`` (configuration to
what is shown), ``capture`` (sockets), ``show`` (from the one to the other). The daemon loads none of this, nor scapy.
"""
