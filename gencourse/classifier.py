"""The digit classifier whose features measure samples: trained once, in less than a minute, then kept."""

import os
import tempfile
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from . import data
from .archives import cache, root
from .errors import is_whole, require
from .runtime import budget, device
from .train import fit


class DigitClassifier(nn.Module):
    """image (B, 1, 28, 28) in [-1, 1] -> ten logits (B, 10), through 64 features.

    >>> net = DigitClassifier().eval()
    >>> net(torch.zeros(2, 1, 28, 28)).shape, net.features(torch.zeros(2, 1, 28, 28)).shape
    (torch.Size([2, 10]), torch.Size([2, 64]))
    """

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.BatchNorm2d(16), nn.ReLU()),  # (B, 16, 14, 14)
            *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),  # (B, 32, 7, 7)
            *(nn.Flatten(), nn.Dropout(0.25), nn.Linear(32 * 49, 64), nn.ReLU()),
        )
        self.head = nn.Linear(64, 10)

    def features(self, x):
        """The last hidden layer, (B, 64)."""
        return self.body(x)

    def forward(self, x):
        return self.head(self.features(x))


def digit_classifier(steps=None) -> DigitClassifier:
    """A classifier of MNIST digits, in evaluation mode, frozen, on the device of the course.

    The first call trains it on the CPU, seed 0, and keeps the weights in the data folder (or, where that cannot be
    written, in the user's cache folder); later calls read them, so that all measures of a machine have one ruler.

    Args:
        steps: of training, batches of 128; default 1,400 (three epochs), few under the smoke profile.

    Returns:
        The classifier. After 1,400 steps it names at least 98.5 % of MNIST's test digits.

    Raises:
        ArgumentError: for steps that are not a positive integer.
        KeyboardInterrupt: if training is interrupted; nothing is kept then.
    """
    steps = budget(smoke=60, laptop=1400, gpu=1400) if steps is None else steps
    require(is_whole(steps) and steps > 0, "steps", steps, "a positive integer")
    train = data.mnist("train")
    name = f"classifier-{train.name}-{steps}.safetensors"
    with torch.random.fork_rng(devices=[]):
        net = DigitClassifier()
    if not any(_read(net, folder / name) for folder in (root(), cache())):
        _train(net, train, steps)
        _keep(net, name)
    return net.eval().requires_grad_(False).to(device())


def _train(net, train, steps):
    """Adam with a rate that rises and falls; the same on every machine, up to rounding."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for layer in net.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
        opt = torch.optim.AdamW(net.parameters())
        rate = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=0.01, total_steps=steps)

        def step(batch):
            x, y = batch
            loss = nn.functional.cross_entropy(net(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            rate.step()
            return {"loss": loss}

        history = fit(step, data.batches((train.x, train.y), 128), steps, label="digit classifier, trained once")
    if history.interrupted:
        raise KeyboardInterrupt("the digit classifier is not trained yet, and a ruler half made must not be kept")


def _read(net, path):
    """Load the weights; False if they are not there, or not whole."""
    try:
        net.load_state_dict(safetensors.torch.load_file(path))
    except (OSError, SafetensorError, RuntimeError):  # the last: of another network
        return False
    return True


def _keep(net, name):
    """Save the weights in the first folder that takes them; without one, the next session trains again."""
    for folder in (root(), cache()):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as aside:
                safetensors.torch.save_file(net.state_dict(), Path(aside, name))
                os.replace(Path(aside, name), folder / name)
            return
        except (OSError, SafetensorError):  # the second: a full disk
            continue
