"""The digit classifier whose features measure samples. Its weights ship with the course: all are measured alike."""

from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from .runtime import device

WEIGHTS = Path(__file__).parent / "classifier.safetensors"


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


def digit_classifier() -> DigitClassifier:
    """The course's classifier of digits, in evaluation mode, frozen, on the device of the course.

    It was trained once (``python -m experiments.classifier``), and its weights ship with the course, so that FIDs
    from different machines can be compared.
    """
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are replaced
        net = DigitClassifier()
    net.load_state_dict(safetensors.torch.load_file(WEIGHTS))
    return net.eval().requires_grad_(False).to(device())
