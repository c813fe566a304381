"""Broken twins: deliberately wrong implementations, which the very check that the right one passes must catch."""

import pytest
from torch import nn


def must_fail(check, twin):
    """Run ``check(twin)`` and fail unless its assertion does: a check that cannot fail is a defect."""
    with pytest.raises((AssertionError, pytest.fail.Exception)):  # the second: pytest.raises that saw nothing
        check(twin)


def every_check_fails(twins):
    """A test for each of ``twins``, name -> (twin, checks): all of these checks must catch it."""

    @pytest.mark.parametrize("name", twins)
    def test(name):
        twin, checks = twins[name]
        for check in checks:
            must_fail(check, twin)

    return test


class Twin(nn.Module):
    """A right network with something wrong behind it."""

    def __init__(self, net, wrong):
        super().__init__()
        self.net, self.wrong = net, wrong

    def forward(self, x):
        return self.wrong(self.net(x))
