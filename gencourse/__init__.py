"""gencourse: the thin helper library of the course. The notebooks own the mathematics; this owns the plumbing.

Names are in the order in which the course introduces them.
"""

from . import autoregressive, check, data, diffusion, distances, likelihoods, losses, metrics, nets, plot, samplers
from .data import batches
from .errors import DataError, GencourseError, TrainingDiverged, TrainingStopped
from .progress import track
from .runtime import by_profile, device, environment, profile, seed_everything
from .train import History, ema, fit
from .weights import load_or_train, load_weights

__all__ = [
    "environment", "seed_everything", "device", "profile", "by_profile",
    "data", "batches", "plot", "check", "distances",
    "nets", "losses", "fit", "History", "track", "load_or_train", "load_weights", "metrics",
    "likelihoods", "diffusion", "samplers", "ema", "autoregressive",
    "GencourseError", "DataError", "TrainingDiverged", "TrainingStopped",
]  # fmt: skip
