"""GRE keepalives, as Cisco has them: a GRE packet whose payload is its own answer. Theirs are answered, ours sent.

Theory of operation. Who asks wraps the answer it wants, IP and GRE from the far end to itself with GRE protocol 0 and
no payload, in an ordinary GRE packet to the far end. That one unwraps the request and sends on what was inside; who
gets no answer takes its side of the tunnel for down. Linux does not do that by itself: it drops the inner packet as a
martian, since its source is a local address.

Both kinds are read from one raw GRE socket a tunnel, whose filter lets pass answers (GRE protocol 0) and requests (GRE
inside of GRE, also behind the CMD header that a Cisco TrustSec domain adds), and nothing of the feed. On the tunnel's
link they are not to be had: the kernel hands answers and CMD headers to nobody there. What is sent leaves by the same
socket, with an IP header of the kernel's, so that IPsec's policies see GRE.

The rooms: ``packet`` (codec), ``reflect`` (what to answer, and how often), ``prober`` (when to ask, and what silence
means), ``agent``.
"""
