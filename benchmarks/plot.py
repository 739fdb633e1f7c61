"""The figures as one SVG picture: ratios to the floor with the aims marked, and CPU time per operation against the number of secrets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from html import escape
from typing import NamedTuple

from benchmarks.aims import RATIOS
from benchmarks.points import Results, at_clients, at_size

WIDTH, LABEL_WIDTH, BAR_WIDTH, BAR_HEIGHT = 920, 200, 600, 20
PANEL_GAP, AXIS_HEIGHT, CURVE_HEIGHT = 46, 24, 200
OPERATIONS = ("get", "history", "batch read of 100", "create", "update", "delete")
FILES = (".env of 100", ".env of 1,000", "encrypt of 100")
COLOURS = {"get": "#2b6cb0", "update": "#c05621"}


class Axis(NamedTuple):
    """An axis of ``BAR_WIDTH`` pixels between the first and the last of its ``marks``; ``scale`` makes it linear or logarithmic."""

    marks: list[float]
    scale: Callable[[float], float]

    def place(self, value: float) -> float:
        """Pixels from the picture's left edge; a value beyond the ends is at the end."""
        low, high = self.scale(self.marks[0]), self.scale(self.marks[-1])
        share = (self.scale(max(value, self.marks[0])) - low) / (high - low)
        return LABEL_WIDTH + min(share, 1.0) * BAR_WIDTH


def linear(values: Iterable[float]) -> Axis:
    """From 0 to a tenth above the largest of ``values``, a mark at each tenth."""
    return Axis([mark / 10 for mark in range(math.floor(max(values) * 10) + 2)], float)


def logarithmic(values: Iterable[float], low: float = 1.0) -> Axis:
    """From ``low``, a power of ten, to the power of ten above the largest of ``values``, a mark at each."""
    powers = range(round(math.log10(low)), max(math.ceil(math.log10(max(values))), round(math.log10(low)) + 1) + 1)
    return Axis([10.0**power for power in powers], math.log)


def svg(results: Results) -> str:
    """The picture. Raises KeyError where a point it needs was not measured."""
    rates = {what: results.middle(what, lambda point: point.ratio) for what in (at_clients(operation, 32) for operation in OPERATIONS)}
    alone = (*(at_clients(operation, 1) for operation in OPERATIONS), *FILES)
    latencies = {what: results.middle(what, lambda point: point.ratio) for what in alone}
    parts: list[str] = []
    top = PANEL_GAP
    for title, figures, axis in (
        ("32 clients: operations a second, as a part of the floor's requests a second (more is better)", rates, linear),
        ("One client: p50, as a multiple of the floor's p50 (less is better)", latencies, logarithmic),
    ):
        parts += _bars(title, figures, top, axis)
        top += len(figures) * BAR_HEIGHT + AXIS_HEIGHT + PANEL_GAP
    parts += _curves("CPU for one operation, ms, against the number of secrets (32 clients)", _growth(results), top)
    height = top + CURVE_HEIGHT + AXIS_HEIGHT + 10
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{height}" fill="white"/>', *parts, "</svg>", ""])


def _growth(results: Results) -> dict[str, dict[int, float]]:
    """For each operation, CPU milliseconds by the number of secrets."""
    counts = sorted({store.secrets for store in results.stores})
    return {
        operation: {count: results.middle(at_size(operation, count), lambda point: point.cpu_ms) for count in counts}
        for operation in COLOURS
    }


def _bars(title: str, figures: Mapping[str, float], top: int, axis_of: Callable[[Iterable[float]], Axis]) -> Iterator[str]:
    """A horizontal bar for each of ``figures``; a line across it where there is an aim."""
    axis = axis_of([*figures.values(), *(RATIOS[what][1] for what in figures if what in RATIOS)])
    yield _text(10, top - 10, title, weight="bold")
    yield from _grid(axis, top, top + len(figures) * BAR_HEIGHT)
    for row, (what, figure) in enumerate(figures.items()):
        y = top + row * BAR_HEIGHT
        yield _text(LABEL_WIDTH - 8, y + 14, what, anchor="end")
        width = axis.place(figure) - LABEL_WIDTH
        yield f'<rect x="{LABEL_WIDTH}" y="{y + 3}" width="{width:.1f}" height="{BAR_HEIGHT - 6}" fill="#2b6cb0"/>'
        yield _text(LABEL_WIDTH + BAR_WIDTH + 8, y + 14, f"{figure:.2f}")
        if what in RATIOS:
            sign, bound = RATIOS[what]
            x = axis.place(bound)
            yield f'<line x1="{x:.1f}" y1="{y}" x2="{x:.1f}" y2="{y + BAR_HEIGHT}" stroke="#c53030" stroke-width="3"/>'
            yield _text(LABEL_WIDTH + BAR_WIDTH + 64, y + 14, f"{'≥' if sign == '>=' else '≤'} {bound:g}", colour="#c53030")


def _curves(title: str, figures: Mapping[str, Mapping[int, float]], top: int) -> Iterator[str]:
    """A line for each of ``figures`` over a logarithmic axis of counts; its height is linear from 0."""
    counts = sorted({count for curve in figures.values() for count in curve})
    axis = logarithmic(counts, 10.0 ** math.floor(math.log10(counts[0])))
    highest = max(value for curve in figures.values() for value in curve.values()) * 1.1
    bottom = top + CURVE_HEIGHT
    yield _text(10, top - 10, title, weight="bold")
    yield from _grid(axis, top, bottom)
    yield f'<line x1="{LABEL_WIDTH}" y1="{bottom}" x2="{LABEL_WIDTH + BAR_WIDTH}" y2="{bottom}" stroke="#718096"/>'
    for operation, curve in figures.items():
        places = [(axis.place(count), bottom - value / highest * CURVE_HEIGHT, value) for count, value in curve.items()]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
        yield f'<polyline points="{line}" fill="none" stroke="{COLOURS[operation]}" stroke-width="2"/>'
        for x, y, value in places:
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{COLOURS[operation]}"/>'
            yield _text(x + 4, y - 6, f"{value:.2f}", colour=COLOURS[operation])
        yield _text(LABEL_WIDTH - 8, places[0][1] + 4, operation, anchor="end", colour=COLOURS[operation])


def _grid(axis: Axis, top: int, bottom: int) -> Iterator[str]:
    """A thin upright line at each mark, and its number below."""
    for mark in axis.marks:
        x = axis.place(mark)
        yield f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke="#cbd5e0"/>'
        yield _text(x, bottom + 16, f"{mark:,.10g}", anchor="middle", colour="#4a5568")


def _text(x: float, y: float, text: str, *, anchor: str = "start", colour: str = "#1a202c", weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-weight="{weight}">{escape(text)}</text>'
