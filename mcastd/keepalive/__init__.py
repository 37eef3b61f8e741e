"""GRE keepalives, as Cisco sends them: a GRE packet whose payload is its own answer.

Theory of operation. The far end wraps the answer it wants, IP and GRE from us to it with GRE protocol 0 and no payload,
in an ordinary GRE packet to us. The kernel (or the pump) unwraps the request, and what shows up on gre1 is the answer;
sent on as it is, it comes back to the far end, which takes its side of the tunnel down after three that did not. Linux
drops it as a martian, since its source is our own address, so it is read with a packet socket before that and sent
through a plain raw GRE socket, which IPsec's policies see as GRE.
"""
