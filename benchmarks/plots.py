"""Plots as SVG, drawn by hand: a few lines in a frame do not need a library."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 40, 50
_HEAD = (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
    'font-family="sans-serif" font-size="12">'
)
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows. ``log``: powers of ten at equal distances."""

    label: str
    log: bool = False

    def span(self, values: list[float]) -> tuple[float, float]:
        """The ends of the axis, in its own measure."""
        if self.log:
            low, high = math.floor(self.place(min(values))), math.ceil(self.place(max(values)))
            return float(low), float(max(high, low + 1))
        return 0.0, (max(values) or 1.0) * 1.1

    def place(self, value: float) -> float:
        """Where a value stands, in the axis' own measure."""
        return math.log10(max(value, 1e-9)) if self.log else value

    def ticks(self, low: float, high: float) -> list[tuple[float, str]]:
        """Places and what is written there."""
        if self.log:
            return [
                (float(power), _number(10.0**power)) for power in range(int(low), int(high) + 1)
            ]
        step = 10 ** math.floor(math.log10(high / 4))
        step *= next(factor for factor in (1, 2, 5, 10) if high / (step * factor) <= 6)
        return [(step * index, _number(step * index)) for index in range(int(high / step) + 1)]


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines by name, each a list of points."""

    title: str
    x: Axis
    y: Axis
    lines: dict[str, list[tuple[float, float]]]

    def svg(self) -> str:
        """The whole file."""
        xs = [x for points in self.lines.values() for x, _ in points]
        ys = [y for points in self.lines.values() for _, y in points]
        x_span, y_span = self.x.span(xs), self.y.span(ys)
        parts = [
            _HEAD,
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
            _text(_WIDTH / 2, 20, self.title, 'font-size="14"'),
            *self._grid(x_span, y_span),
        ]
        for index, (name, points) in enumerate(self.lines.items()):
            colour = _COLOURS[index % len(_COLOURS)]
            places = [(_x(self.x.place(x), x_span), _y(self.y.place(y), y_span)) for x, y in points]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            parts.append(
                f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
            )
            if len(places) < 20:
                parts += [
                    f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places
                ]
            top = _TOP + 14 * (index + 1)
            parts.append(
                f'<text x="{_WIDTH - _RIGHT - 6}" y="{top}" text-anchor="end" fill="{colour}">'
                f"{escape(name)}</text>"
            )
        return "\n".join([*parts, "</svg>", ""])

    def _grid(self, x_span: tuple[float, float], y_span: tuple[float, float]) -> list[str]:
        right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
        parts = []
        for place, text in self.x.ticks(*x_span):
            x = _x(place, x_span)
            parts += [
                f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}" stroke="#ddd"/>',
                _text(x, bottom + 16, text),
            ]
        for place, text in self.y.ticks(*y_span):
            y = _y(place, y_span)
            parts += [
                f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#ddd"/>',
                f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>',
            ]
        middle = (_TOP + bottom) / 2
        return [
            *parts,
            _text((_LEFT + right) / 2, _HEIGHT - 12, self.x.label),
            _text(16, middle, self.y.label, f'transform="rotate(-90 16 {middle})"'),
        ]


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" {more}>{escape(text)}</text>'


def _x(place: float, span: tuple[float, float]) -> float:
    return _LEFT + (place - span[0]) / (span[1] - span[0]) * (_WIDTH - _LEFT - _RIGHT)


def _y(place: float, span: tuple[float, float]) -> float:
    return _HEIGHT - _BOTTOM - (place - span[0]) / (span[1] - span[0]) * (_HEIGHT - _TOP - _BOTTOM)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 or value == 0 else f"{value:g}"
