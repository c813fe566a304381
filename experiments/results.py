"""The data file of the contest: written by ``experiments.contest``, read by 10_showdown and by the book."""

import ast
import hashlib
import json
import platform
import subprocess
import time
from pathlib import Path

import numpy as np
import torch

import gencourse as gc
from gencourse.classifier import WEIGHTS
from gencourse.train import replace_file

HERE = Path(__file__).resolve().parent
FILE = HERE / "results.json"
FLOOR = "training digits"  # the entrant that shows what the measures say of real data

# What enters the numbers: whole files, or the named functions and classes of a file.
CODE = {
    "experiments": {"entrants.py": None, "sampling.py": None, "contest.py": None},
    "gencourse": {
        "losses.py": None, "likelihoods.py": None, "diffusion.py": None, "samplers.py": None, "metrics.py": None,
        "classifier.py": {"DigitClassifier"}, "autoregressive.py": {"nll_step"}, "train.py": {"fit", "ema"},
        "data/images.py": {"binarize"}, "data/minibatches.py": None,
        **dict.fromkeys(f"nets/{name}.py" for name in ("mlp", "dcgan", "vae", "unet", "pixelcnn", "pixelrnn", "gpt")),
    },
}  # fmt: skip


def _syntax(node):
    """A syntax tree as text, without docstrings and what is empty, so that each version of Python gives the same."""
    if isinstance(node, list):
        return "[" + ",".join(_syntax(item) for item in node) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
        fields["body"] = node.body[1:]
    filled = (f"{name}={_syntax(value)}" for name, value in fields.items() if value is not None and value != [])
    return f"{type(node).__name__}({','.join(filled)})"


def fingerprint() -> str:
    """SHA-256 of the code and the classifier from which the results come; docstrings and layout do not count."""
    digest = hashlib.sha256(WEIGHTS.read_bytes())
    for package, files in CODE.items():
        for file, names in files.items():
            tree = ast.parse((HERE.parent / package / file).read_text(encoding="utf-8"))
            if names is not None:
                named = {getattr(node, "name", None): node for node in tree.body}
                tree.body = [named[name] for name in sorted(names)]
            digest.update(f"{package}/{file}{_syntax(tree)}".encode())
    return digest.hexdigest()


def check_fingerprint(path=FILE):
    """None where the data file comes from the present code, else a sentence that says that it does not."""
    if stored(path)["code"] == fingerprint():
        return None
    return f"{path.name} was made by other code: losses, networks or recipes have changed. Run `make showdown` again."


def pack(x) -> str:
    """Images (N, 1, 28, 28) as text: black and white, white where above 0, eight pixels a byte, in base 16."""
    return np.packbits((x > 0).flatten(1).cpu().numpy(), axis=1, bitorder="little").tobytes().hex()


def unpack(text) -> torch.Tensor:
    """The images that :func:`pack` made into text, (N, 1, 28, 28) of -1 and 1.

    >>> x = torch.ones(2, 1, 28, 28).cumsum(3) - 14.5
    >>> unpack(pack(x)).equal(x.sign())
    True
    """
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), bitorder="little")
    return 2 * torch.from_numpy(bits).view(-1, 1, 28, 28).float() - 1


def hardware():
    if gc.device().type == "cuda":
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def commit():
    """The commit of the code and its date, or None outside a repository."""
    command = ["git", "log", "-1", "--format=%h, %cs"]
    try:
        return subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True).stdout.strip() or None
    except (OSError, subprocess.CalledProcessError):
        return None


def assemble(paths, path, plan, workers, minutes):
    """Put all runs, which lie at ``paths``, together into one data file at ``path``."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    threads = ", one thread each" if gc.device().type == "cpu" else ""
    content = {
        "code": fingerprint(), "commit": commit(), "written": time.strftime("%Y-%m-%d"), "profile": gc.profile(),
        "hardware": f"{hardware()}; {workers} runs side by side{threads}", "torch": torch.__version__,
        "data": f"{gc.data.mnist('train').name}, binarized with seed 0 (train) and 1 (test)",
        "minutes of the last call": round(minutes, 1),
        "plan": plan,
        "runs": sorted(runs, key=lambda run: (run["name"], run["seed"])),
    }  # fmt: skip
    replace_file(path, lambda file: file.write((json.dumps(content, indent=1) + "\n").encode()))


def stored(path=FILE) -> dict:
    """The data file as a dictionary.

    Args:
        path: of another data file; default the one of the course.

    Raises:
        DataError: if it is not there, or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise gc.DataError(f"There is no readable {path.name} ({error}). Make it with `make showdown`.") from error


def _spread(values):
    v = torch.tensor(values, dtype=torch.float64)
    return v.mean().item(), (v.std().item() if len(v) > 1 else 0.0)


def rows(results) -> dict:
    """Entrant -> measure -> (mean, standard deviation over the seeds), or a text; the floor comes first.

    Measures of samples: "FID", "FID of many" (if each seed has it), "KID", "precision", "recall", "density",
    "coverage", "entropy", "two-sample error", "ms a sample" (many side by side), "ms alone" (one by itself); of the
    training: "nats", "nats error", "train seconds", "steps", "MB", "parameters"; texts: "protocol", "latent" and
    "trained as".

    Args:
        results: what :func:`stored` returns.
    """
    found = {}
    for run in results["runs"]:
        for entrant, measures in run["draws"].items():
            row = found.setdefault(entrant, {"trained as": run["name"]})
            own = len(run["draws"]) == 1 or entrant.startswith(run["name"])  # DDIM is not the model of DDPM's bound
            training = ("train seconds", "steps", "MB", "parameters", *(("nats", "nats error") if own else ()))
            for name, value in (measures | {name: run[name] for name in training if name in run}).items():
                name = "two-sample error" if name == "error of a judge" else name  # so called in older files
                row.setdefault(name, []).append(value)
            row["protocol"] = run.get("protocol", "") if own else f"none: the bound of {run['name']} is not its own"
            latent = run.get("latent", "")
            row["latent"] = latent[entrant] if isinstance(latent, dict) else latent
    for row in found.values():
        # where sampling many was too slow for some seed, the mean of the others would not be that of the row
        if len(row.get("FID of many", [])) < len(row["FID"]):
            row.pop("FID of many", None)
        row.update({name: _spread(value) for name, value in row.items() if isinstance(value, list)})
    return dict(sorted(found.items(), key=lambda item: (item[0] != FLOOR, item[1]["FID"][0])))


def curves(results) -> dict:
    """Training -> ([seconds], [FID of a few samples]) of the first seed, the same number of samples at each point."""
    return {run["name"]: tuple(zip(*run["curve"], strict=True)) for run in results["runs"] if run.get("curve")}


def samples(results) -> dict:
    """Entrant -> images (N, 1, 28, 28) of -1 and 1, those of the first seed that the data file keeps."""
    return {name: unpack(text) for run in results["runs"] for name, text in run["kept"].items()}


def write_checksums(weights, stem):
    """Write the checksums of one folder of finished files into weights/SHA256SUMS, in place of its old ones."""
    listed = weights / "SHA256SUMS"
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
    lines = [line for line in lines if not line.split()[1].startswith(f"{stem}/")]
    for file in (path for path in (weights / stem).glob("*") if path.suffix in (".xz", ".npz")):
        lines.append(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {stem}/{file.name}")
    text = "".join(f"{line}\n" for line in sorted(lines, key=lambda line: line.split()[1]))
    if text or listed.exists():
        replace_file(listed, lambda file: file.write(text.encode()))
