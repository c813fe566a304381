"""Networks kept under a name: they come back, and what does not fit or is damaged is refused."""

import pytest
import torch

import gencourse as gc


def test_weights_and_card_come_back(tmp_path):
    path, net, other = tmp_path / "a" / "net.safetensors", gc.nets.mlp([2, 3, 1]), gc.nets.mlp([2, 3, 1])
    card = {"seed": 0, "seconds": 1.5, "curve": [[1.0, 2.0]], "profile": "laptop"}
    gc.shelf.keep(path, {"net": net}, card)
    assert gc.shelf.take(path, {"net": other}) == card
    x = torch.randn(4, 2)
    assert net(x).equal(other(x))


def test_what_is_not_there_is_none(tmp_path):
    net = gc.nets.mlp([2, 1])
    before = [w.clone() for w in net.parameters()]
    assert gc.shelf.take(tmp_path / "none.safetensors", {"net": net}) is None
    assert all(a.equal(b) for a, b in zip(before, net.parameters()))


def test_damaged_and_other_files_are_refused_and_change_nothing(tmp_path):
    path, net = tmp_path / "net.safetensors", gc.nets.mlp([2, 3, 1])
    gc.shelf.keep(path, {"net": net}, {})
    before = [w.clone() for w in net.parameters()]
    for other in ({"net": gc.nets.mlp([2, 4, 1])}, {"D": net}):
        with pytest.raises(gc.DataError, match="other networks"):
            gc.shelf.take(path, other)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(gc.DataError, match="damaged"):
        gc.shelf.take(path, {"net": net})
    assert all(a.equal(b) for a, b in zip(before, net.parameters()))


def test_arguments_are_refused(tmp_path):
    for bad in ({}, None, {"net": 3}):
        with pytest.raises(gc.ArgumentError, match="networks"):
            gc.shelf.keep(tmp_path / "x", bad, {})
