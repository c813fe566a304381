"""gencourse: the thin helper library of the course. The notebooks own the mathematics; this owns the plumbing.

Names stand in the order in which the course meets them.
"""

from . import autoregressive, check, data, diffusion, distances, likelihoods, losses, metrics, nets, plot, shelf
from .data import batches, draws
from .errors import ArgumentError, CheckpointError, DataError, GencourseError, TrainingDiverged
from .finished import kept, load_or_train
from .progress import track
from .runtime import budget, device, environment, profile, seed_everything
from .train import History, fit

__all__ = [
    "environment", "seed_everything", "device", "profile", "budget",
    "data", "batches", "draws", "plot", "check", "distances",
    "nets", "losses", "likelihoods", "diffusion", "autoregressive",
    "fit", "load_or_train", "kept", "History", "track", "metrics", "shelf",
    "GencourseError", "ArgumentError", "DataError", "TrainingDiverged", "CheckpointError",
]  # fmt: skip
