"""The table on stdout."""

from __future__ import annotations

from harness.cases import GROUPS, Case
from harness.memory import KINDS, Weight
from harness.report import NGINX, Run
from harness.report.figures import figures
from harness.stats import ratio


def render(run: Run) -> str:
    """All of it, as plain text."""
    lines = [f"anypop beside its peers, {run.when}", ""]
    lines += _head(run)
    shown = None
    for case in run.cases:
        if case.group != shown:
            shown = case.group
            lines += ["", GROUPS[case.group], "=" * len(GROUPS[case.group])]
        lines += ["", f"{case.title}  [{case.name}]", *(_latency(run, case) if case.is_latency else _rates(run, case))]
    lines += _idle(run) + _sites(run) + _figures(run)
    lines += ["", f"Machine: {run.noise.verdict()}"]
    return "\n".join(lines)


def columns(rows: list[list[str]]) -> list[str]:
    """Aligned: the first column to the left, all others to the right."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return ["  " + "  ".join(cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths, strict=True))) for row in rows]


def times(value: float | None) -> str:
    """A ratio, or a dash where it is unknown."""
    return "-" if value is None else f"{value:.2f}"


def _head(run: Run) -> list[str]:
    machine = run.machine
    return [
        f"{machine['system']}, Linux {machine['kernel']}, {machine['cores']} cores of {machine['cpu']}; load before: {machine['load_before']:.2f}",
        f"cores (server, load, origin): {run.options['cores']}; rounds: {run.options['rounds']} of {run.options['seconds']} s each, interleaved; medians",
        *(f"  {name}: {version}" for name, version in run.versions.items()),
    ]


def _rates(run: Run, case: Case) -> list[str]:
    nginx, best = run.rate(case, NGINX), run.best_peer(case)
    rows = [["", "per second", "lowest", "highest", "x nginx", "x best peer", "CPU µs each", "core used"]]
    notes = []
    for peer in run.peers:
        rate = run.rate(case, peer.name)
        if note := run.results.note(case.name, peer.name):
            notes.append(f"  {peer.title}: {note}")
        if rate is None:
            continue
        rows.append(
            [
                peer.title,
                f"{rate.median:,.0f}",
                f"{rate.low:,.0f}",
                f"{rate.high:,.0f}",
                times(ratio(rate.median, nginx.median if nginx else None)),
                times(ratio(rate.median, best[1] if best else None)),
                f"{run.figure(case, peer.name, 'cpu_us'):.1f}",
                f"{run.figure(case, peer.name, 'server_busy'):.0%}",
            ]
        )
    return columns(rows) + notes


def _latency(run: Run, case: Case) -> list[str]:
    rows = [["", "per second", "p50 µs", "p90 µs", "p99 µs", "p99.9 µs", "CPU µs each"]]
    notes = []
    for peer in run.peers:
        rate = run.rate(case, peer.name)
        if note := run.results.note(case.name, peer.name):
            notes.append(f"  {peer.title}: {note}")
        if rate is None:
            continue
        percentiles = [run.figure(case, peer.name, name) for name in ("p50_us", "p90_us", "p99_us", "p999_us", "cpu_us")]
        rows.append([peer.title, f"{rate.median:,.0f}", *(f"{value:,.1f}" if value is not None else "-" for value in percentiles)])
    return columns(rows) + notes


def _idle(run: Run) -> list[str]:
    if not run.idle:
        return []
    lines = ["", "Resident memory for each idle connection", "=" * 40, ""]
    rows = [["", *(f"{kind}, KiB" for kind in KINDS)]]
    notes = []
    for peer in run.peers:
        cells = []
        for kind in KINDS:
            weight = run.idle.get((kind, peer.name))
            cells.append(f"{weight.each / 1024:.1f}" if isinstance(weight, Weight) else "-")
            if isinstance(weight, str):
                notes.append(f"  {peer.title}, {kind}: {weight}")
        if not peer.fixed:
            rows.append([peer.title, *cells])
    return lines + columns(rows) + notes


def _sites(run: Run) -> list[str]:
    sites = run.sites
    if sites is None:
        return []
    title = f"{sites.sites:,} sites on one node"
    rows = [
        ["", "1 site", f"{sites.sites:,} sites"],
        ["start to first answer, s", f"{sites.start_seconds_one:.2f}", f"{sites.start_seconds:.2f}"],
        ["resident memory, MiB", f"{sites.resident_one / 2**20:.0f}", f"{sites.resident / 2**20:.0f}"],
        ["1 KiB hits per second", f"{sites.rate_one:,.0f}", f"{sites.rate:,.0f}"],
    ]
    return ["", title, "=" * len(title), "", *columns(rows), f"  {sites.each / 1024:.1f} KiB resident for each site"]


def _figures(run: Run) -> list[str]:
    rows = [["", "figure", "aim"]]
    for figure in figures(run):
        rows.append([figure.title, f"{figure.value:.2f}{figure.unit}", f"{figure.direction} {figure.aim:g}{figure.unit}"])
    if len(rows) == 1:
        return []
    return ["", "anypop against what it aims at", "=" * 30, "", *columns(rows)]
