"""``mcastd trace``: IKE, keepalives, PIM and IGMP as they pass, decoded into text or written as pcapng.

Theory of operation. One packet socket receives from every interface, including those that come up later; its filter
accepts IKE, PIM, IGMP and keepalives, also when GRE carries them, so that the feed never reaches Python. The kernel
counts ESP on two sockets that are never read. ``scope`` says which packets belong to the configuration.

A keepalive is seen three times: the request in GRE, where decrypted packets show; its content on the tunnel's
interface; and the answer. Decrypted packets show on the interface of user-space ESP or on an XFRM interface, in both
directions. In tunnel mode with the kernel's own policies they show as they arrive, on the interface of ESP.

``decode``, ``ike``, ``pim``, ``igmp`` (bytes to text), ``pcapng`` and ``scope`` are pure; ``capture`` has the sockets;
``show`` connects them. The daemon imports none of this, nor scapy.
"""
