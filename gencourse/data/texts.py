"""Text for character models: names, Shakespeare, a text of your own, and some Jane Austen where there is no network."""

import codecs
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ..errors import DataError, require
from .download import download
from .images import announce_substitute

MIN_CHARACTERS = 3000  # of a text of your own: a tenth must hold a window of 256 characters
MARKS = (  # with which files begin, and their encodings; the longer ones first
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
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
    """Text, split into 90 % for training and 10 % for testing (5 % at least), at the end of a line where there is one.

    Args:
        name: "shakespeare" (1.1 million characters of plays), "names" (32,033 names, one per line, shuffled once),
            "austen" (the first chapters of Pride and Prejudice, which come with the course), or the
            pathlib.Path of a text of your own: UTF-8, or UTF-16 as Windows saves it, of at least 3,000 characters;
            a million make a good model. Line breaks become "\\n".
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
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path.name} cannot be read ({error}). Is it there?") from error
    encoding = next((name for mark, name in MARKS if raw.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in raw:  # UTF-16 without a mark: every second byte of plain letters is 0
        encoding = "utf-16-be" if raw[::2].count(0) > raw[1::2].count(0) else "utf-16-le"
    try:
        whole = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path.name} is not saved as UTF-8. Save it so in an editor, or here, where older files of Windows are "
            "'gb18030' if Chinese and 'latin-1' if Western European: Path('new.txt').write_text(Path("
            f"{path.name!r}).read_text('gb18030'), 'utf-8')"
        ) from error
    whole = whole.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in whole or len(whole) < MIN_CHARACTERS:
        has = "holds bytes that are no text" if "\0" in whole else f"has {len(whole)} characters"
        raise DataError(f"{path.name} {has}; at least {MIN_CHARACTERS:,} characters of plain text are needed, and a "
                        "million give a good model. Take a longer text, or export it as plain text.")  # fmt: skip
    return whole if "\n" in whole else whole + "\n"  # models begin after a line break


def _split(whole, name, device):
    characters = "".join(sorted(set(whole)))
    number = {c: i for i, c in enumerate(characters)}
    tokens = torch.tensor([number[c] for c in whole], dtype=torch.int64, device=device)
    cut, latest = 9 * len(tokens) // 10, 19 * len(tokens) // 20
    cut = whole.index("\n", cut) + 1 if "\n" in whole[cut:latest] else cut
    return Text(tokens[:cut], tokens[cut:], characters, name)
