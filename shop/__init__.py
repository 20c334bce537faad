"""Antipode: a web shop whose every write is replicated, asynchronously, to a far side."""

__version__ = "0.1.0"
