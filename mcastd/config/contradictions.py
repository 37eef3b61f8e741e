"""Contradictions."""

from mcastd.config.model import Config
from mcastd.config.report import Report


def find(config: Config, report: Report) -> None:
    """All."""
