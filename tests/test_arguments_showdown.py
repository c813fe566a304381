"""Bad arguments to the shelf and the blind test: rows for test_arguments, which tries them and misses none."""

import torch
from test_arguments_diffusion import rows

from gencourse import finished, nets, plot, shelf

NET, X = nets.mlp([2, 1]), torch.ones(2, 1, 28, 28)
NETWORKS = [None, 3]
BLIND = {"real": X, "fakes": {"a": X}, "judge": {"a": 0.5}}
TRAINING = {"name": "00_start_here/x", "run": dict}
BAD = {
    shelf.keep: rows({"path": None, "card": {}, "networks": {"net": NET}}, networks=NETWORKS),
    shelf.take: rows({"path": None, "networks": {"net": NET}}, networks=NETWORKS),
    finished.load_or_train: rows(TRAINING, name=["digits", 3], run=[3], frames=[1, 2.5]),
    finished.kept: rows({"name": "00_start_here/x"}, name=["digits", None]),
    plot.blind: rows(BLIND, real=[3, X[0]], fakes=[3, {}], judge=[3, {}, {"a": 2.0}]),
}
