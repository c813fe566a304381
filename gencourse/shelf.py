"""Trained networks under a name: weights as safetensors, and a card that says where they come from, in one file."""

import json
import os

from safetensors import SafetensorError
from safetensors.torch import load_file, safe_open, save_file
from torch import nn

from .errors import DataError, require

__all__ = ["keep", "take"]


def _named(networks):
    ok = isinstance(networks, dict) and networks and all(isinstance(net, nn.Module) for net in networks.values())
    require(ok, "networks", networks if not isinstance(networks, dict) else list(networks), "a dictionary of networks")
    return {f"{part}/{key}": v for part, net in networks.items() for key, v in net.state_dict().items()}


def write(path, tensors, card):
    """Write ``tensors`` (name -> tensor on the CPU) and the ``card`` to one file, all or nothing.

    Raises:
        DataError: if it cannot be written.
    """
    new = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, new, metadata={"card": json.dumps(card)})
        os.replace(new, path)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path.name} cannot be written ({error}). Make room there, or name another folder.") from error


def read(path):
    """The tensors and the card of a file.

    Raises:
        DataError: if the file is damaged, or may not be read.
    """
    try:
        with safe_open(path, "pt") as file:
            card = json.loads(file.metadata()["card"])
        return load_file(path), card
    except PermissionError as error:
        raise DataError(f"{path.name} may not be read. Give yourself the right to read it, or delete it.") from error
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path.name} is damaged ({error}). Delete it; it is then made anew.") from error


def keep(path, networks, card):
    """Write the weights of ``networks`` and the ``card`` to one file, all or nothing.

    Args:
        path: a pathlib.Path; its folder is made if need be.
        networks: name -> network.
        card: dictionary of numbers, texts and lists of them: parameters, seconds of training, profile, seed, protocol.

    Raises:
        ArgumentError: if ``networks`` are no networks.
        DataError: if the file cannot be written.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "line.safetensors"
    >>> keep(path, {"net": nn.Linear(1, 1)}, {"seed": 0})
    >>> take(path, {"net": nn.Linear(1, 1)})
    {'seed': 0}
    """
    write(path, {key: v.detach().cpu().clone().contiguous() for key, v in _named(networks).items()}, card)


def take(path, networks):
    """Put the weights back into ``networks``, and return the card; None if there is no such file.

    Args:
        path: as for :func:`keep`.
        networks: name -> network, of the same names and shapes as were kept.

    Raises:
        DataError: if the file is damaged, or was made for other networks; ``networks`` are then as before.
    """
    wanted = _named(networks)
    if not path.exists():
        return None
    found, card = read(path)
    if {k: v.shape for k, v in found.items()} != {k: v.shape for k, v in wanted.items()}:
        raise DataError(f"{path.name} was made for other networks than these. Delete it, or use another name.")
    for part, net in networks.items():
        net.load_state_dict({k: found[f"{part}/{k}"] for k in net.state_dict()})
    return card
