"""GRE keepalives as Cisco defines them: the far end's are answered, and ours are sent if configured.

Theory of operation. A keepalive request is an ordinary GRE packet whose payload is its own answer: an IP packet from
the receiver back to the sender, with GRE protocol 0 and no payload. The receiver decapsulates the request and forwards
what was inside; a sender that gets no answers takes its side of the tunnel down. Linux does not answer by itself: it
drops the inner packet as a martian, since its source is a local address.

Requests and answers are read from one raw GRE socket for each tunnel. Its filter accepts answers (GRE protocol 0) and
requests (GRE inside GRE, also behind the CMD header that a Cisco TrustSec domain adds), and nothing of the feed. On the
tunnel's interface they cannot be read: the kernel delivers neither answers nor CMD headers there. What we send leaves
by the same socket, with an IP header that the kernel makes, so that it matches the IPsec policies for GRE.

Modules: ``packet`` (codec), ``reflect`` (the answer to a request), ``peer_keepalives`` (whether the far end's keep
coming), ``prober`` (when ours are sent, and what silence means), ``agent`` (sockets and the loop).
"""
