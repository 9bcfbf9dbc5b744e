"""Metric streams: what they are, what is kept of them, and how their points add up.

No I/O. Shared by the processors that keep something of every stream.
"""
