"""Of which code results come: a fingerprint of the files on which they rest."""

import hashlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
JUDGED_BY = (
    "losses.py", "likelihoods.py", "diffusion.py", "samplers.py", "metrics.py", "classifier.py", "nets/*.py",
    "showdown/recipe*.py", "showdown/denoisers.py", "showdown/drawing.py", "showdown/contest.py",
)  # fmt: skip


def code() -> str:
    """SHA-256 of the losses, networks, samplers, measures and recipes on which the results rest."""
    digest = hashlib.sha256()
    for pattern in JUDGED_BY:
        for path in sorted(HERE.parent.glob(pattern)):
            digest.update(path.name.encode() + b"\0" + path.read_text(encoding="utf-8").encode() + b"\0")
    return digest.hexdigest()
