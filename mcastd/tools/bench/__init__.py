"""What a burst loses, stage by stage, on its way through this host's kernel, between two network namespaces.

::

    sender.py                 veth, softnet                ESP            GRE                    UDP, receive buffer
    GRE by a raw socket  -->  backlog of another CPU  -->  the kernel's,  the kernel's, or  -->  reader.py
    (namespace 1)             (namespace 2)                or none        pump.py over a TUN

The namespaces belong to the processes of sender and reader, and are gone with them, however they end. What is lost at
a stage is the difference of what two counters say; a stage without a counter is not measured, which the report says.
``plan.py`` and ``report.py`` are pure, ``scene.py`` has the namespaces and the processes.
"""
