"""The run as one JSON document: every sample, and all that is needed to repeat it."""

from __future__ import annotations

from dataclasses import asdict

from harness.memory import Weight
from harness.report import Run
from harness.report.figures import figures


def document(run: Run) -> dict[str, object]:
    """Only what `json.dumps` takes."""
    return {
        "when": run.when,
        "machine": run.machine,
        "options": run.options,
        "versions": run.versions,
        "noise": {"noisy": run.noise.noisy, "spread": run.noise.spread, "foreign": run.noise.foreign},
        "cases": [_case(run, case.name) | {"name": case.name, "title": case.title, "group": case.group} for case in run.cases],
        "idle": [
            {"kind": kind, "peer": peer} | (weight.document() if isinstance(weight, Weight) else {"reason": weight})
            for (kind, peer), weight in run.idle.items()
        ],
        "sites": run.sites.document() if run.sites else None,
        "figures": [asdict(figure) | {"met": figure.met} for figure in figures(run)],
        "configurations": run.configurations,
    }


def _case(run: Run, name: str) -> dict[str, object]:
    samples = {peer.name: run.results.samples.get((name, peer.name)) for peer in run.peers}
    notes = {peer.name: run.results.note(name, peer.name) for peer in run.peers}
    return {
        "samples": {peer: [sample.document() for sample in found] for peer, found in samples.items() if found},
        "notes": {peer: note for peer, note in notes.items() if note},
    }
