"""A short name for what a configuration says. Pure."""

import hashlib

from mcastd.config.model import Config


def digest(config: Config) -> str:
    """The same for the same values, whatever file they are from."""
    return hashlib.sha256(repr(config).encode()).hexdigest()[:16]
