"""The hops: each a function from facts to what it found, with the causes that it can name declared beside it."""

from collections.abc import Callable, Iterator

from mcastd.tools.doctor.facts import Facts
from mcastd.tools.doctor.finding import Finding, Note

Found = Iterator[Finding | Note]
"""What a hop yields: notes, and findings in the order in which they matter; the first finding is reported."""

Hop = Callable[[Facts], Found]

LOOPBACK = "lo"
