"""The certificate that all peers show."""

from __future__ import annotations

from pathlib import Path

from harness import process
from harness.places import HOST


def make(folder: Path) -> Path:
    """Makes bench.crt, bench.key and bench.pem (both in one) for an ECDSA P-256 key, and gives their folder."""
    folder.mkdir()
    folder.chmod(0o755)
    certificate, key = folder / "bench.crt", folder / "bench.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]
    command += ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}", "-keyout", str(key), "-out", str(certificate)]
    process.run(command, timeout=30)
    (folder / "bench.pem").write_text(certificate.read_text() + key.read_text())
    for file in folder.iterdir():
        file.chmod(0o644)  # Some servers give up root before they read it.
    return folder
