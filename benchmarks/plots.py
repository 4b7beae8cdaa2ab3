"""Plots as inline SVG, without scripts; colours come from the page (see `report.css`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 720
_BAR_HEIGHT, _BAR_GAP, _LABEL_WIDTH, _VALUE_WIDTH = 22, 10, 130, 150
_LEFT, _RIGHT, _TOP, _BOTTOM, _HEIGHT = 64, 16, 14, 44, 260

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Bar:
    """One bar: its text stands beside it; `ours` ones are in the accent colour."""

    label: str
    value: float
    text: str
    ours: bool = False


def log_bars(bars: Sequence[Bar], title: str) -> str:
    """Horizontal bars on a logarithmic scale that begins well below the smallest value."""
    lowest = math.floor(math.log10(min(bar.value for bar in bars) / 2))
    highest = math.ceil(math.log10(max(bar.value for bar in bars)) + 1e-9)
    room = WIDTH - _LABEL_WIDTH - _VALUE_WIDTH
    height = len(bars) * (_BAR_HEIGHT + _BAR_GAP) + 24

    def x(value: float) -> float:
        return _LABEL_WIDTH + room * (math.log10(value) - lowest) / max(1, highest - lowest)

    parts = []
    for exponent in range(lowest, highest + 1):
        at = x(10.0**exponent)
        parts.append(_line(at, 0, at, height - 24, "grid"))
        parts.append(_text(at, height - 6, short(10.0**exponent), "middle"))
    for row, bar in enumerate(bars):
        y = row * (_BAR_HEIGHT + _BAR_GAP) + _BAR_GAP / 2
        width = max(2.0, x(bar.value) - _LABEL_WIDTH)
        kind = "ours" if bar.ours else "other"
        middle = y + _BAR_HEIGHT / 2 + 4
        parts.append(_text(_LABEL_WIDTH - 8, middle, bar.label, "end", "label"))
        parts.append(
            f'<rect class="{kind}" x="{_LABEL_WIDTH}" y="{y:.1f}" width="{width:.1f}" '
            f'height="{_BAR_HEIGHT}" rx="2"/>'
        )
        parts.append(_text(_LABEL_WIDTH + width + 8, middle, bar.text, "start", "label"))
    return _svg(height, title, parts)


def lines(
    series: Sequence[tuple[str, Points]],
    title: str,
    x_name: str,
    y_name: str,
    limit: float | None = None,
) -> str:
    """Lines over common axes from 0, with a legend when there are several.

    limit: a horizontal line, such as a target.
    """
    axes = _Axes(
        x_max=max((x for _, points in series for x, _ in points), default=1) or 1,
        y_max=max([y for _, points in series for _, y in points] + [limit or 0.0]) or 1,
    )
    parts = list(axes.frame(x_name, y_name, short))
    if limit is not None:
        parts.append(_line(_LEFT, axes.y(limit), WIDTH - _RIGHT, axes.y(limit), "limit"))
        parts.append(_text(WIDTH - _RIGHT, axes.y(limit) - 5, "target", "end"))
    for number, (label, points) in enumerate(series):
        path = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in points)
        parts.append(
            f'<polyline class="line line-{number % 3}" points="{path}">'
            f"<title>{escape(label)}</title></polyline>"
        )
        if len(series) > 1:
            at = _LEFT + 10 + 70 * number
            parts.append(_line(at, _TOP + 2, at + 12, _TOP + 2, f"line line-{number % 3}"))
            parts.append(_text(at + 16, _TOP + 6, label, "start"))
    return _svg(_HEIGHT, title, parts)


def histogram(
    counts: Sequence[tuple[float, int]], marks: Sequence[tuple[float, str]], title: str, x_name: str
) -> str:
    """Shares of equal classes as columns, their running sum as a line, vertical marks with names."""
    total = sum(count for _, count in counts)
    x_max = max([value for value, _ in counts] + [mark for mark, _ in marks])
    step = max(1.0, x_max / 60)
    classes: dict[int, int] = {}
    for value, count in counts:
        classes[int(value // step)] = classes.get(int(value // step), 0) + count
    axes = _Axes(x_max=(x_max // step + 1) * step, y_max=1.0)
    parts = list(axes.frame(x_name, "share of events", "{:.0%}".format))
    tallest = max(classes.values())
    for index, count in sorted(classes.items()):
        left, right = axes.x(index * step), axes.x((index + 1) * step)
        top = axes.y(count / tallest * 0.6)
        parts.append(
            f'<rect class="other" x="{left:.1f}" y="{top:.1f}" width="{max(1, right - left - 1):.1f}" '
            f'height="{axes.y(0) - top:.1f}"/>'
        )
    reached, path = 0, [f"{axes.x(0):.1f},{axes.y(0):.1f}"]
    for value, count in counts:
        reached += count
        path.append(f"{axes.x(value):.1f},{axes.y(reached / total):.1f}")
    parts.append(f'<polyline class="line line-0" points="{" ".join(path)}"/>')
    for row, (value, name) in enumerate(marks):
        parts.append(_line(axes.x(value), _TOP, axes.x(value), _HEIGHT - _BOTTOM, "limit"))
        right = value > x_max * 0.75
        at = axes.x(value) + (-4 if right else 4)
        parts.append(_text(at, _TOP + 12 + 14 * row, name, "end" if right else "start"))
    return _svg(_HEIGHT, title, parts)


def short(value: float) -> str:
    """A number in few characters: 1.2M, 350k, 0.5."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


@dataclass(frozen=True)
class _Axes:
    """Maps values to places; both axes begin at 0."""

    x_max: float
    y_max: float

    def x(self, value: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * value / self.x_max

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / (self.y_max * 1.05)

    def frame(self, x_name: str, y_name: str, y_text: Callable[[float], str]) -> Iterator[str]:
        for value in _ticks(self.y_max):
            yield _line(_LEFT, self.y(value), WIDTH - _RIGHT, self.y(value), "grid")
            yield _text(_LEFT - 8, self.y(value) + 4, y_text(value), "end")
        for value in _ticks(self.x_max):
            yield _text(self.x(value), _HEIGHT - _BOTTOM + 18, short(value), "middle")
        yield _text((_LEFT + WIDTH - _RIGHT) / 2, _HEIGHT - 6, x_name, "middle")
        yield (
            f'<text transform="translate(12,{(_HEIGHT - _BOTTOM + _TOP) / 2:.0f}) rotate(-90)" '
            f'text-anchor="middle">{escape(y_name)}</text>'
        )


def _ticks(highest: float) -> list[float]:
    """About five round values from 0 to the highest."""
    rough = highest / 5
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    return [number * step for number in range(int(highest / step + 1e-9) + 1)]


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )
