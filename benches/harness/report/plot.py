"""The plot: an SVG of bars, one block for each case."""

from __future__ import annotations

from html import escape

from harness.cases import GROUPS, Case
from harness.report import ANYPOP, LIMIT, Run

WIDTH, NAMES, FIGURES, BAR, GAP = 1000, 190, 200, 16, 4
COLOURS = {ANYPOP: "#d9480f", LIMIT: "#adb5bd"}
OTHERS = "#4c6ef5"


def render(run: Run) -> str:
    """A whole document. Bars are medians, whiskers reach from the lowest to the highest round."""
    parts: list[str] = []
    y = 30
    parts.append(_text(10, y, f"anypop beside its peers, {run.when}", 16, bold=True))
    y += 20
    colour = "#c92a2a" if run.noise.noisy else "#495057"
    parts.append(_text(10, y, run.noise.verdict(), 11, colour=colour))
    shown = None
    for case in run.cases:
        rows = _rows(run, case)
        if not rows:
            continue
        if case.group != shown:
            shown = case.group
            y += 34
            parts.append(_text(10, y, GROUPS[case.group], 14, bold=True))
        y += 24
        unit = "p99 in µs, shorter is better" if case.is_latency else "per second"
        parts.append(_text(10, y, f"{case.title} ({unit})", 12))
        y += 8
        parts.append(_block(rows, y))
        y += len(rows) * (BAR + GAP)
    height = y + 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="system-ui, sans-serif"><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


Row = tuple[str, str, float, float, float, str]
"""Title, colour, median, lowest, highest, and the words at its end."""


def _rows(run: Run, case: Case) -> list[Row]:
    rows: list[Row] = []
    for peer in run.peers:
        rate, cpu = run.rate(case, peer.name), run.figure(case, peer.name, "cpu_us")
        if rate is None or cpu is None:
            continue
        colour = COLOURS.get(peer.name, OTHERS)
        if case.is_latency:
            p99 = run.figure(case, peer.name, "p99_us")
            if p99 is not None:
                rows.append((peer.title, colour, p99, p99, p99, f"{p99:,.0f} µs at {rate.median:,.0f}/s"))
        else:
            rows.append((peer.title, colour, rate.median, rate.low, rate.high, f"{rate.median:,.0f}, {cpu:.1f} µs CPU each"))
    return rows


def _block(rows: list[Row], y: int) -> str:
    most = max(high for _, _, _, _, high, _ in rows) or 1.0
    scale = (WIDTH - NAMES - FIGURES) / most
    parts = []
    for title, colour, median, low, high, words in rows:
        middle = y + BAR / 2
        parts.append(_text(NAMES - 8, int(middle) + 4, title, 11, anchor="end"))
        parts.append(f'<rect x="{NAMES}" y="{y}" width="{median * scale:.1f}" height="{BAR}" fill="{colour}"/>')
        if high > low:
            left, right = NAMES + low * scale, NAMES + high * scale
            parts.append(f'<path d="M{left:.1f} {middle}H{right:.1f}M{left:.1f} {middle - 4}v8M{right:.1f} {middle - 4}v8" stroke="#212529" fill="none"/>')
        parts.append(_text(int(NAMES + high * scale) + 6, int(middle) + 4, words, 11))
        y += BAR + GAP
    return "".join(parts)


def _text(x: int, y: int, words: str, size: int, *, bold: bool = False, anchor: str = "start", colour: str = "#212529") -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"{weight}>{escape(words)}</text>'
