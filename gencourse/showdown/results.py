"""The data file of the showdown: written by ``make showdown``, read by 10_showdown and by the book."""

import json
import os
import platform
import subprocess
import time

import torch

from ..data import mnist
from ..errors import DataError, require
from ..runtime import device, profile
from .contest import FLOOR, plan, unpack
from .fingerprint import HERE, code

FILE = "results.json"


def _hardware():
    if device().type == "cuda":
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return name


def _commit():
    """The commit of the code and its date, or None outside a repository."""
    try:
        asked = ["git", "log", "-1", "--format=%h, %cs"]
        return subprocess.run(asked, cwd=HERE, capture_output=True, text=True, check=True).stdout.strip() or None
    except (OSError, subprocess.CalledProcessError):
        return None


def assemble(folder, out, workers, minutes):
    """Put all runs of ``folder`` together into one data file in ``out``; returns its path."""
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json")) if path.name != FILE]
    threads = ", one thread each" if device().type == "cpu" else ""
    content = {
        "code": code(), "commit": _commit(), "written": time.strftime("%Y-%m-%d"), "profile": profile(),
        "hardware": f"{_hardware()}; {workers} runs side by side{threads}", "torch": torch.__version__,
        "data": f"{mnist('train').name}, binarized with seed 0 (train) and 1 (test)",
        "minutes of the last call": round(minutes, 1),
        "plan": plan(),
        "runs": sorted(runs, key=lambda r: (r["name"], r["seed"])),
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    path = out / FILE
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(new, path)
    return path


def stored(path=None) -> dict:
    """The data file as a dictionary.

    Args:
        path: of another data file; default the one of the course.

    Raises:
        DataError: if it is not there, or damaged.
    """
    path = path or HERE / FILE
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"There is no {path.name} ({error.strerror}). Make it with `make showdown` (an hour)."
        ) from error
    except ValueError as error:
        raise DataError(f"{path.name} is damaged ({error}). Make it anew with `make showdown`.") from error


def _spread(values):
    v = torch.tensor(values, dtype=torch.float64)
    return v.mean().item(), (v.std().item() if len(v) > 1 else 0.0)


def rows(results) -> dict:
    """Entrant -> measure -> (mean, standard deviation over the seeds), or a text; the floor comes first.

    Measures of samples: "FID", "FID of many" (if each seed has it), "KID", "precision", "recall", "density",
    "coverage", "entropy", "error of a judge", "ms a sample" (many side by side), "ms alone" (one by itself); of the
    training: "nats", "nats error", "train seconds", "steps", "MB", "parameters"; texts: "protocol", "latent" and
    "trained as".
    """
    require(isinstance(results, dict) and "runs" in results, "results", type(results).__name__, "what stored() returns")
    found = {}
    for run in results["runs"]:
        for entrant, measures in run["draws"].items():
            row = found.setdefault(entrant, {"trained as": run["name"]})
            for name, value in measures.items():
                row.setdefault(name, []).append(value)
            own = len(run["draws"]) == 1 or entrant.startswith(run["name"])  # DDIM is not the model of DDPM's bound
            for name in ("train seconds", "steps", "MB", "parameters", *(("nats", "nats error") if own else ())):
                if name in run:
                    row.setdefault(name, []).append(run[name])
            row["protocol"] = run.get("protocol", "") if own else f"none: the bound of {run['name']} is not its own"
            latent = run.get("latent", "")
            row["latent"] = latent[entrant] if isinstance(latent, dict) else latent
    for row in found.values():
        # where drawing many was too slow for some seed, the mean of the others would not be that of the row
        if len(row.get("FID of many", [])) < len(row["FID"]):
            row.pop("FID of many", None)
    table = {
        entrant: {n: _spread(v) if isinstance(v, list) else v for n, v in row.items()} for entrant, row in found.items()
    }
    first = {FLOOR: table.pop(FLOOR)} if FLOOR in table else {}
    return first | dict(sorted(table.items(), key=lambda item: item[1]["FID"][0]))


def curves(results) -> dict:
    """Training -> ([seconds], [FID of a few samples]) of the first seed, the same number of samples at each point."""
    return {r["name"]: tuple(zip(*r["curve"], strict=True)) for r in results["runs"] if r.get("curve")}


def samples(results) -> dict:
    """Entrant -> images (N, 1, 28, 28) of -1 and 1, those of the first seed that the data file keeps."""
    return {name: unpack(text) for run in results["runs"] for name, text in run["kept"].items()}
