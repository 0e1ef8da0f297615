"""Line charts with logarithmic axes, side by side, as one SVG that is readable on light and dark pages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 940, 440
LEFT, TOP, BOTTOM, GAP, RIGHT = 86, 96, 62, 76, 32

STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328; }
  .title { font-size: 17px; font-weight: 600; }
  .panel { font-weight: 600; }
  .tick { font-size: 12px; fill: #59636e; }
  .page { fill: #ffffff; }
  .grid { stroke: #d9dee4; stroke-width: 1; }
  .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
  .dot { fill: #ffffff; stroke-width: 2; }
  .a { stroke: #0969da; } .b { stroke: #bc4c00; } .c { stroke: #1a7f37; } .d { stroke: #8250df; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .tick { fill: #9198a1; }
    .page, .dot { fill: #0d1117; }
    .grid { stroke: #2d343d; }
    .a { stroke: #58a6ff; } .b { stroke: #f0883e; } .c { stroke: #3fb950; } .d { stroke: #bc8cff; }
  }
"""

SHAPES = "abcd"


@dataclass
class Chart:
    """One panel: each series is points of x and CPU seconds."""

    title: str
    axis: str
    series: dict[str, list[tuple[float, float]]]


@dataclass
class Scale:
    """From a value to a place, by its logarithm."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place."""
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def figure(title: str, charts: list[Chart]) -> str:
    """The whole picture. All panels have the same vertical axis and the same series."""
    values = [y for chart in charts for points in chart.series.values() for _, y in points if y > 0]
    decades = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    vertical = Scale(decades[0], decades[-1], HEIGHT - BOTTOM, TOP)
    width = (WIDTH - LEFT - RIGHT - GAP * (len(charts) - 1)) / len(charts)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
        f'<text class="title" x="{LEFT}" y="30">{escape(title)}</text>',
        *legend(list(charts[0].series)),
    ]
    for number, chart in enumerate(charts):
        start = LEFT + number * (width + GAP)
        parts += panel(chart, start, start + width, vertical, decades)
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text class="tick" text-anchor="middle" transform="translate(18 {middle:.0f}) rotate(-90)">CPU seconds</text>'
    )
    return "\n".join([*parts, "</svg>", ""])


def legend(names: list[str]) -> list[str]:
    """One row above the panels."""
    parts, x = [], float(LEFT)
    for shape, name in zip(SHAPES, names):
        parts.append(f'<path class="line {shape}" d="M{x:.0f} 52h26"/>')
        parts.append(mark(shape, x + 13, 52))
        parts.append(f'<text x="{x + 34:.0f}" y="56.5">{escape(name)}</text>')
        x += 62 + 7.4 * len(name)
    return parts


def panel(chart: Chart, start: float, end: float, vertical: Scale, decades: range) -> list[str]:
    """Grid, ticks and lines."""
    places = sorted({x for points in chart.series.values() for x, _ in points})
    across = Scale(math.log10(places[0]), math.log10(places[-1]) or 1, start + 12, end - 12)
    foot = HEIGHT - BOTTOM
    parts = [f'<text class="panel" x="{start:.0f}" y="{TOP - 14}">{escape(chart.title)}</text>']
    for decade in decades:
        y = vertical(10.0**decade)
        parts.append(f'<path class="grid" d="M{start:.1f} {y:.1f}H{end:.1f}"/>')
        parts.append(
            f'<text class="tick" text-anchor="end" x="{start - 8:.1f}" y="{y + 4:.1f}">{power(decade)}</text>'
        )
    for place in places:
        x = across(place)
        parts.append(f'<path class="grid" d="M{x:.1f} {foot}v5"/>')
        parts.append(
            f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{foot + 20}">{short(place)}</text>'
        )
    middle = (start + end) / 2
    parts.append(
        f'<text class="tick" text-anchor="middle" x="{middle:.1f}" y="{foot + 44}">{escape(chart.axis)}</text>'
    )
    for shape, points in zip(SHAPES, chart.series.values()):
        dots = [(across(x), vertical(y)) for x, y in points if y > 0]
        parts.append(f'<path class="line {shape}" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in dots)}"/>')
        parts += [mark(shape, x, y) for x, y in dots]
    return parts


def mark(shape: str, x: float, y: float) -> str:
    """A point; its form tells the series apart without colour too."""
    outlines = {
        "a": f'<circle class="dot a" cx="{x:.1f}" cy="{y:.1f}" r="4"/>',
        "b": f'<rect class="dot b" x="{x - 3.8:.1f}" y="{y - 3.8:.1f}" width="7.6" height="7.6"/>',
        "c": f'<path class="dot c" d="M{x:.1f} {y - 5:.1f}l5 8.6h-10z"/>',
        "d": f'<path class="dot d" d="M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5z"/>',
    }
    return outlines[shape]


def power(decade: int) -> str:
    """A tick of seconds."""
    if decade < 0:
        return f"{10.0 ** (decade + 3):g} ms"
    return f"{10**decade} s"


def short(value: float) -> str:
    """A tick of targets or bins."""
    if value >= 1_000_000:
        return f"{value / 1e6:.3g} M"
    return f"{value:,.0f}"
