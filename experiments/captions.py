"""Pictures with captions made by a function, "a red seven on white, top left", and judges that read them back.

The digits are MNIST's; ink, paper and place are drawn at random. Some pairs of digit and ink never occur in training,
so that it can be measured what a model makes of a caption that it has never seen.
"""

from typing import NamedTuple

import torch
from torch.nn.functional import pad

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
INKS = {"red": (0.85, 0.1, 0.1), "green": (0.0, 0.5, 0.15), "blue": (0.1, 0.2, 0.85), "purple": (0.55, 0.1, 0.65),
        "black": (0.05, 0.05, 0.05)}  # fmt: skip
PAPERS = {"white": (1.0, 1.0, 1.0), "yellow": (1.0, 0.9, 0.3), "pink": (1.0, 0.7, 0.8), "mint": (0.65, 1.0, 0.75),
          "sky": (0.65, 0.85, 1.0)}  # fmt: skip
PLACES = {"top left": (0, 0), "top right": (0, 12), "in the middle": (6, 6), "bottom left": (12, 0),
          "bottom right": (12, 12)}  # fmt: skip
KINDS = (DIGITS, tuple(INKS), tuple(PAPERS), tuple(PLACES))
FIRST = (0, 10, 15, 20)  # the number of the first word of each kind
VOCABULARY, LENGTH, SIDE = 25, 4, 32


class Captioned(NamedTuple):
    """Pictures ``x`` (N, 3, 32, 32) float32 in [-1, 1], and their captions ``words`` (N, 4) int64, word by word."""

    x: torch.Tensor
    words: torch.Tensor


def caption(words) -> str:
    """Four words, by number, as a sentence.

    >>> caption([7, 10, 15, 20])
    'a red seven on white, top left'
    """
    digit, ink, paper, place = (kind[int(word) - first] for kind, word, first in zip(KINDS, words, FIRST))
    return f"a {ink} {digit} on {paper}, {place}"


def held_out(words) -> torch.Tensor:
    """Which captions (N, 4) have a digit in an ink that training never shows: one ink for each digit, (N,) bool."""
    return words[:, 1] - FIRST[1] == words[:, 0] % len(INKS)


def _colours(names, device):
    return torch.tensor(list(names.values()), device=device)  # RGB in [0, 1]


def paint(digits: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """Grey digits (N, 1, 28, 28) in [-1, 1] in the ink, on the paper and at the place of their captions (N, 4).

    Returns:
        (N, 3, 32, 32) in [-1, 1]. Of each digit the inner 20 x 20 pixels are taken.
    """
    ink, paper = (_colours(names, digits.device)[words[:, k] - FIRST[k]] for k, names in ((1, INKS), (2, PAPERS)))
    inner, place = (digits[:, :, 4:24, 4:24] + 1) / 2, words[:, 3] - FIRST[3]
    cover = torch.zeros(len(digits), 1, SIDE, SIDE, device=digits.device)
    for k, (top, left) in enumerate(PLACES.values()):
        here = pad(inner, (left, 12 - left, top, 12 - top))
        cover = torch.where((place == k)[:, None, None, None], here, cover)
    return 2 * (cover * ink[..., None, None] + (1 - cover) * paper[..., None, None]) - 1


def captioned(images, seed=0, unseen=False) -> Captioned:
    """A picture with a caption for each of some digits, with ink, paper and place at random.

    Args:
        images: ``gc.data.Images`` of digits.
        seed: of the random words.
        unseen: whether all pairs of digit and ink may occur; else those of :func:`held_out` do not.
    """
    rng, n = torch.Generator().manual_seed(seed), len(images.x)
    ink = torch.randint(len(INKS) - (not unseen), (n,), generator=rng).to(images.y.device)
    if not unseen:  # of the other inks
        ink = (images.y + 1 + ink) % len(INKS)
    paper, place = torch.randint(5, (2, n), generator=rng).to(images.y.device)
    words = torch.stack([images.y, ink, paper, place], 1) + torch.tensor(FIRST, device=images.y.device)
    return Captioned(torch.cat([paint(*part) for part in zip(images.x.split(5000), words.split(5000))]), words)


@torch.no_grad()
def read(x: torch.Tensor, classifier) -> torch.Tensor:
    """What a picture shows, judged from its pixels alone: (N, 3, 32, 32) in [-1, 1] -> words (N, 4).

    The paper is the named colour nearest to the median of the pixels; the ink is the one for which mixtures of both
    come closest to the pixels; the place is the square that holds most of the ink; and the digit is what
    ``classifier``, a ``gc.metrics.digit_classifier()``, reads in it.
    """
    pixels = ((x.clamp(-1, 1) + 1) / 2).flatten(2).mT  # (N, 1024, 3)
    inks, papers = _colours(INKS, x.device), _colours(PAPERS, x.device)
    paper = torch.cdist(pixels.median(1).values, papers).argmin(1)
    base = papers[paper][:, None]  # (N, 1, 3)
    direction = inks - base  # (N, inks, 3)
    cover = ((pixels - base) @ direction.mT / direction.square().sum(2)[:, None]).clamp(0, 1)  # (N, 1024, inks)
    error = (pixels[:, :, None] - base[:, :, None] - cover[..., None] * direction[:, None]).square().sum((1, 3))
    ink = error.argmin(1)
    cover = cover[torch.arange(len(x)), :, ink].unflatten(1, (1, SIDE, SIDE))
    crops = torch.stack([cover[..., top : top + 20, left : left + 20] for top, left in PLACES.values()], 1)
    place = crops.sum((2, 3, 4)).argmax(1)
    best = crops[torch.arange(len(x)), place]
    digit = classifier(pad(2 * best - 1, (4, 4, 4, 4), value=-1.0)).argmax(1)
    return torch.stack([digit, ink, paper, place], 1) + torch.tensor(FIRST, device=x.device)
