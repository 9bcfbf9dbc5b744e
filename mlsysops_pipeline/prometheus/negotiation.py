"""The format of a scraped page, chosen from the ``Accept`` header (conformance NG-1, NG-2)."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlsysops_pipeline.prometheus.escaping import Escaping

if TYPE_CHECKING:
    from collections.abc import Iterator

_ACCEPT_CHARACTERS_MAX = 4096
"""What is longer is cut: no scraper offers so much."""
_ESCAPINGS = {scheme.value: scheme for scheme in Escaping} | {"allow-utf8": Escaping.ALLOW_UTF_8}
"""The specification spells the last one in both ways."""


class Page(enum.Enum):
    """How a page is written."""

    TEXT = "text/plain"
    """Prometheus text, version 0.0.4."""
    OPEN_METRICS = "application/openmetrics-text"
    """OpenMetrics 1.0.0, which readers of its version 0.0.1 understand as well."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format: the value of its ``Content-Type``, how the page is written, and its names."""

    content_type: str
    page: Page
    escaping: Escaping


@dataclass(frozen=True, slots=True)
class _Offer:
    media_type: str
    parameters: dict[str, str]
    quality: float


def negotiate(accept: str, *, open_metrics: bool) -> Format:
    """The best format that ``accept`` names and we have.

    The highest ``q`` wins, the first of equals. Text where nothing fits or nothing is asked for.
    ``open_metrics``: whether OpenMetrics may be chosen. What takes anything gets OpenMetrics then.
    """
    offers = sorted(_offers(accept[:_ACCEPT_CHARACTERS_MAX]), key=lambda offer: -offer.quality)
    for offer in offers:
        found = _format(offer, open_metrics=open_metrics) if offer.quality > 0 else None
        if found is not None:
            return found
    return _text(Escaping.UNDERSCORES)


def _format(offer: _Offer, *, open_metrics: bool) -> Format | None:
    version = offer.parameters.get("version", "")
    escaping = _ESCAPINGS.get(offer.parameters.get("escaping", ""), Escaping.UNDERSCORES)
    if offer.media_type in {"text/plain", "text/*"}:
        # A reader of text 1.0.0, which only adds quoted names, reads 0.0.4 as Prometheus writes it.
        return _text(escaping) if version in {"", "0.0.4", "1.0.0"} else None
    if offer.media_type == "*/*":
        return _open_metrics("1.0.0", escaping) if open_metrics else _text(escaping)
    if offer.media_type == Page.OPEN_METRICS.value and open_metrics:
        if version in {"", "0.0.1"}:
            return _open_metrics("0.0.1", escaping)
        if version == "1.0.0":
            return _open_metrics(version, escaping)
    return None


def _text(escaping: Escaping) -> Format:
    parameters = f"version=0.0.4; charset=utf-8; escaping={escaping}"
    return Format(f"{Page.TEXT.value}; {parameters}", Page.TEXT, escaping)


def _open_metrics(version: str, escaping: Escaping) -> Format:
    parameters = f"version={version}; charset=utf-8; escaping={escaping}"
    return Format(f"{Page.OPEN_METRICS.value}; {parameters}", Page.OPEN_METRICS, escaping)


def _offers(accept: str) -> Iterator[_Offer]:
    for part in accept.split(","):
        media_type, *rest = (piece.strip() for piece in part.split(";"))
        parameters = {
            name.strip().lower(): value.strip().strip('"')
            for name, _, value in (piece.partition("=") for piece in rest)
        }
        try:
            quality = float(parameters.get("q", "1"))
        except ValueError:
            quality = math.nan
        if not math.isfinite(quality):
            continue  # not a weight, so not an offer
        yield _Offer(media_type.lower(), parameters, quality)
