"""Text for character models: names, Shakespeare, a text of your own, and some Jane Austen where there is no network."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ..errors import DataError, require
from .download import download
from .images import announce_substitute

MIN_CHARACTERS = 1000  # of a text of your own
GITHUB = "https://raw.githubusercontent.com/karpathy/"
DOWNLOADS = {  # file, md5, addresses
    "shakespeare": ("text/tinyshakespeare.txt", "6fb458f1232090904fb40fe944165e91",
                    [GITHUB + "char-rnn/master/data/tinyshakespeare/input.txt"]),
    "names": ("text/names.txt", "401b3c4cac9e28a586ed15e81256680d", [GITHUB + "makemore/master/names.txt"]),
}  # fmt: skip


class Text(NamedTuple):
    """Characters as integers, ``train`` (N,) and ``test`` (M,) int64; the ``characters`` they number; the ``name``."""

    train: torch.Tensor
    test: torch.Tensor
    characters: str
    name: str

    def encode(self, string) -> torch.Tensor:
        """The integers of a string, (N,) int64, on the device of the text.

        Raises:
            ValueError: for a character that does not occur in the text.
        """
        number = {c: i for i, c in enumerate(self.characters)}
        unknown = sorted(set(string) - set(number))
        require(not unknown, "string", string, f"made of the text's {len(number)} characters, without {unknown}")
        return torch.tensor([number[c] for c in string], dtype=torch.int64, device=self.train.device)

    def decode(self, tokens) -> str:
        """The string of some integers, (N,)."""
        return "".join(self.characters[i] for i in tokens.tolist())


def text(name="shakespeare", device=None) -> Text:
    """Text, split into 90 % for training and 10 % for testing, at the end of a line where there is one.

    Args:
        name: "shakespeare" (1.1 million characters of plays), "names" (32,033 names, one per line, shuffled once),
            "austen" (the first chapters of Pride and Prejudice, which come with the course), or the
            pathlib.Path of a UTF-8 text of your own.
        device: where to put the tensors; default the CPU.

    Returns:
        The text that you really got: with no network and no copy at hand, "austen", and a banner says so.

    Raises:
        ValueError: for another name.
        DataError: if your file is not there, is no text, or is too short.

    Source: Karpathy (2015), https://github.com/karpathy/char-rnn, and https://github.com/karpathy/makemore.

    >>> austen = text("austen")
    >>> austen.decode(austen.train[:19])
    'PRIDE AND PREJUDICE'
    """
    if isinstance(name, Path):
        return _split(_own(name), name.stem, device)
    require(name in (*DOWNLOADS, "austen"), "name", name, f"one of {', '.join(DOWNLOADS)}, austen, or a pathlib.Path")
    if name == "austen":
        return _split((Path(__file__).parent / "austen.txt").read_text("utf-8"), name, device)
    try:
        whole = download(*DOWNLOADS[name]).read_text("utf-8")
    except DataError as error:
        announce_substitute(name, "a part of Pride and Prejudice stands in", error)
        return text("austen", device)
    if name == "names":
        lines = whole.split()
        whole = "\n".join(lines[i] for i in np.random.RandomState(0).permutation(len(lines))) + "\n"
    return _split(whole, name, device)


def _own(path):
    try:
        whole = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name} cannot be read ({error}). Is it there, and saved as UTF-8?") from error
    if len(whole) < MIN_CHARACTERS:
        raise DataError(f"{path.name} has {len(whole)} characters, {MIN_CHARACTERS:,} are needed. Take a longer text.")
    return whole


def _split(whole, name, device):
    characters = "".join(sorted(set(whole)))
    number = {c: i for i, c in enumerate(characters)}
    tokens = torch.tensor([number[c] for c in whole], dtype=torch.int64, device=device)
    cut = 9 * len(tokens) // 10
    cut = whole.index("\n", cut) + 1 if "\n" in whole[cut:-1] else cut
    return Text(tokens[:cut], tokens[cut:], characters, name)
