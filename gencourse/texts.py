"""Text for character models: names, Shakespeare, and with no network the course's own prose. Used by data.py."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from .archives import fetch_file
from .errors import DataError, require

LEAST = 1000  # characters of a text of your own
TEXTS = {
    "shakespeare": (
        "tinyshakespeare.txt",
        "6fb458f1232090904fb40fe944165e91",
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    ),
    "names": (
        "names.txt",
        "401b3c4cac9e28a586ed15e81256680d",
        "https://raw.githubusercontent.com/karpathy/makemore/master/names.txt",
    ),
}


class Text(NamedTuple):
    """Characters as integers, ``train`` (N,) and ``test`` (M,) int64; the ``characters`` they number; the ``name``."""

    train: torch.Tensor
    test: torch.Tensor
    characters: str
    name: str

    def encode(self, string) -> torch.Tensor:
        """The integers of a string, (N,) int64, on the device of the text.

        Raises:
            ArgumentError: for a character that does not occur in the text.
        """
        number = {c: i for i, c in enumerate(self.characters)}
        strange = sorted(set(string) - set(number))
        require(not strange, "string", string, f"made of the text's {len(number)} characters, without {strange}")
        return torch.tensor([number[c] for c in string], dtype=torch.int64, device=self.train.device)

    def decode(self, tokens) -> str:
        """The string of some integers, (N,)."""
        return "".join(self.characters[i] for i in tokens.tolist())


def load(name, device):
    """The text of this name or file, or a DataError where it cannot be had."""
    known = isinstance(name, Path) or name in (*TEXTS, "prose")
    require(known, "name", name, f"one of {', '.join(TEXTS)}, prose, or a pathlib.Path")
    if isinstance(name, Path):
        return _split(_own(name), name.stem, device)
    if name == "prose":
        return _split(_prose(), "prose", device)
    file, md5, address = TEXTS[name]
    whole = fetch_file("text", file, md5, [address]).read_text("utf-8")
    if name == "names":
        lines = whole.split()
        whole = "\n".join(lines[i] for i in np.random.RandomState(0).permutation(len(lines))) + "\n"
    return _split(whole, name, device)


def _own(path):
    try:
        whole = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path.name} cannot be read as text ({error}). Check where the file lies, and save it as UTF-8."
        ) from error
    if len(whole) < LEAST:
        raise DataError(f"{path.name} has {len(whole)} characters, and {LEAST:,} are needed. Take a longer text.")
    return whole


def _split(whole, name, device):
    characters = "".join(sorted(set(whole)))
    number = np.zeros(max(map(ord, characters)) + 1, np.int64)
    number[[ord(c) for c in characters]] = np.arange(len(characters))
    tokens = torch.from_numpy(number[[ord(c) for c in whole]]).to(device)
    cut = 9 * len(tokens) // 10
    cut = whole.index("\n", cut) + 1 if "\n" in whole[cut:-1] else cut  # at the end of a line
    return Text(tokens[:cut], tokens[cut:], characters, name)


def _prose():
    """The text cells of the notebooks where they are at hand, else the docstrings of this library; ASCII only."""
    here = Path(__file__).parent
    cells = []
    for path in sorted((here.parent / "notebooks").glob("[0-9]*.ipynb")):
        notebook = json.loads(path.read_text("utf-8"))
        cells += ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown"]
    if not cells:
        cells = [path.read_text("utf-8") for path in sorted(here.rglob("*.py"))]
    whole = "\n\n".join(cells) + "\n"
    return "".join(c for c in whole if c == "\n" or " " <= c <= "~")
