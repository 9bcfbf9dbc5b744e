"""Metric streams: what they are, what is kept of them, how their points add up and are handed on.

No I/O. Shared by the processors that keep something of every stream.
"""
