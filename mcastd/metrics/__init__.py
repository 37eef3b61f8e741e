"""Metrics: what ``mcastd status`` and ``mcastd streams`` show, as series for Prometheus.

``families.py`` and ``stream_families.py`` declare each metric by the field of status that it shows; ``page.py`` makes a
page of them, in steps, between which other work has a turn. ``http.py`` is the HTTP that a scraper needs, and
``agent.py`` the server. Nothing is counted here but sums over the streams of a tunnel (``totals.py``): a page is made
of the same snapshot as status, when it is asked for.

Series exist for all that is configured, whether it is up or not; what is not known has no sample. What changes when an
SA is rekeyed, as an SPI, is no label.
"""
