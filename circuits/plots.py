"""Small plots as SVG text, for the card and for files; no library, no script, no font from elsewhere.

Every string is escaped. Colours are the page's: text takes ``currentColor``, marks have classes with a colour of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:currentColor}"
    ".bar,.dot{fill:#3b7dd8}.chosen{fill:#d8603b}.axis{stroke:currentColor;stroke-opacity:.4}"
    ".faint{fill-opacity:.7}"
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its label, its value, and the text at its end."""

    label: str
    value: float
    text: str


@dataclass(frozen=True, slots=True)
class Dot:
    """One point of a scatter plot; `title` is shown when a pointer rests on it."""

    x: float
    y: float
    title: str
    chosen: bool = False


def bars(items: Sequence[Bar], title: str) -> str:
    """Horizontal bars, one under the other, 640 units wide."""
    most = max((item.value for item in items), default=0) or 1.0
    parts = []
    for index, item in enumerate(items):
        y = 8 + 22 * index
        width = 250 * item.value / most
        parts.append(
            f'<text x="292" y="{y + 12}" text-anchor="end">{_text(item.label, 44)}</text>'
            f'<rect class="bar" x="300" y="{y}" width="{max(width, 1):.1f}" height="16" rx="2"/>'
            f'<text class="faint" x="{306 + width:.1f}" y="{y + 12}">{_text(item.text, 12)}</text>'
        )
    return _svg(16 + 22 * len(items), title, parts)


def scatter(dots: Sequence[Dot], title: str, x_name: str, y_name: str) -> str:
    """Points over a logarithmic x axis and a linear y axis, 640 by 300 units; chosen ones are larger, of another colour."""
    if not dots:
        return ""
    logs = [math.log10(max(dot.x, 1e-9)) for dot in dots]
    left, right = _widened(min(logs), max(logs))
    low, high = _widened(min(dot.y for dot in dots), max(dot.y for dot in dots))

    def place(x: float, y: float) -> tuple[float, float]:
        return 70 + 540 * (x - left) / (right - left), 250 - 220 * (y - low) / (high - low)

    parts = ['<path class="axis" fill="none" d="M70 20V250H620"/>']
    for step in range(5):
        x, y = place(left + (right - left) * step / 4, low + (high - low) * step / 4)
        parts.append(
            f'<text x="{x:.1f}" y="268" text-anchor="middle">{_number(10 ** (left + (right - left) * step / 4))}</text>'
            f'<text x="62" y="{y + 4:.1f}" text-anchor="end">{_number(low + (high - low) * step / 4)}</text>'
        )
    parts.append(f'<text x="345" y="290" text-anchor="middle">{_text(x_name, 60)}</text>')
    parts.append(f'<text x="70" y="12">{_text(y_name, 80)}</text>')
    for dot, log in sorted(zip(dots, logs, strict=True), key=lambda pair: pair[0].chosen):
        x, y = place(log, dot.y)
        parts.append(
            f'<circle class="{"chosen" if dot.chosen else "dot"}" cx="{x:.1f}" cy="{y:.1f}" r="{7 if dot.chosen else 4}">'
            f"<title>{escape(dot.title)}</title></circle>"
        )
    return _svg(300, title, parts)


def _svg(height: int, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {height}" role="img" aria-label="{escape(title)}">'
        f"<style>{_STYLE}</style>{''.join(parts)}</svg>\n"
    )


def _widened(low: float, high: float) -> tuple[float, float]:
    """A range with some air on both sides, and of some width where all values are equal."""
    air = (high - low) * 0.08 or max(abs(high) * 0.005, 0.005)
    return low - air, high + air


def _number(value: float) -> str:
    return f"{value:.3g}"


def _text(text: str, most: int) -> str:
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    return escape(plain if len(plain) <= most else f"{plain[: most - 1]}…")
