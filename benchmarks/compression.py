"""Compression for the generator and the sinks, without the collector's own code."""

from __future__ import annotations

import gzip
import zlib

import cramjam


def pack(name: str, body: bytes) -> bytes:
    """A body as a client would send it. ``none`` leaves it as it is."""
    if name == "gzip":
        return gzip.compress(body, compresslevel=6, mtime=0)
    if name == "zstd":
        return bytes(cramjam.zstd.compress(body, level=3))
    return body


def unpack(name: str, body: bytes) -> bytes:
    """The reverse. Raises `ValueError` for a name that the harness does not use."""
    if name == "gzip":
        return zlib.decompress(body, wbits=31)
    if name == "zstd":
        return bytes(cramjam.zstd.decompress(body))
    if name not in {"", "none", "identity"}:
        raise ValueError(f"compression {name!r}")
    return body
