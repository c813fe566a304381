"""Data: handwritten digits, clothes and emoji, toy distributions, text, and minibatches of anything."""

from .download import root
from .images import Images, binarize, digits, emoji, fashion_mnist, found, mnist
from .minibatches import batches
from .own import folder
from .texts import Text, text
from .toys import TOY_SETS, grid_of_gaussians, mixture_1d, ring_of_gaussians, toy

__all__ = [
    "TOY_SETS", "Images", "Text", "batches", "binarize", "digits", "emoji", "fashion_mnist", "folder", "found",
    "grid_of_gaussians", "mixture_1d", "mnist", "ring_of_gaussians", "root", "text", "toy",
]  # fmt: skip
