"""The layers of PixelRNN, against LSTMs written as loops over pixels; with broken twins."""

from functools import partial

import pytest
import torch
from torch.nn.functional import pad
from torch.testing import assert_close
from twins import every_check_fails

from gencourse.nets import pixelrnn, skew, unskew


@pytest.fixture(autouse=True)
def _seed(one_thread):
    torch.manual_seed(0)


def lstm_by_loops(fed, hidden, neighbours):
    """An LSTM over an image, one pixel after another: neighbours(i, j) -> [(place, weight)...], place of the memory."""
    h, c = ({} for _ in range(2))
    zero = fed.new_zeros(len(fed), hidden)
    height, width = fed.shape[2:]
    for i in range(height):
        for j in range(width):
            places, memory = neighbours(i, j)
            gates = fed[:, :, i, j] + sum(h.get(place, zero) @ weight for place, weight in places)
            o, f, g, new = gates.split(hidden, 1)
            c[i, j] = f.sigmoid() * c.get(memory, zero) + g.sigmoid() * new.tanh()
            h[i, j] = o.sigmoid() * c[i, j].tanh()
    return torch.stack([torch.stack([h[i, j] for j in range(width)], -1) for i in range(height)], -2)


def check_row(make):
    """Three states of the row above, the memory from straight above."""
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    layer = make().double()
    left, above, right = layer.state_to_state.weight.unbind(2)
    fed = layer.input_to_state(pad(x, (1, 0))) + layer.state_to_state.bias[:, None, None]
    up = lambda i, j: ([((i - 1, j - 1), left.T), ((i - 1, j), above.T), ((i - 1, j + 1), right.T)], (i - 1, j))
    assert_close(layer(x), lstm_by_loops(fed, 2, up))


def check_diagonal(make):
    """The states from above and from the side, the memory from the side; the right half one row late."""
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    layer = make().double()
    left, right = layer.input_to_state(x).chunk(2, 1)
    (up_l, side_l), (up_r, side_r) = (weight.split(2) for weight in layer.state_to_state)
    from_left = lambda i, j: ([((i - 1, j), up_l), ((i, j - 1), side_l)], (i, j - 1))
    from_right = lambda i, j: ([((i - 1, j), up_r), ((i, j - 1), side_r)], (i, j - 1))
    late = lstm_by_loops(right.flip(3), 2, from_right).flip(3)
    expected = lstm_by_loops(left, 2, from_left)
    expected[:, :, 1:] += late[:, :, :-1]
    assert_close(layer(x), expected)


def test_the_lstms_against_loops_over_pixels():
    check_row(lambda: pixelrnn.RowLSTM(3, 2))
    check_diagonal(lambda: pixelrnn.DiagonalBiLSTM(3, 2))


class RowAhead(pixelrnn.RowLSTM):
    def forward(self, x):
        return super().forward(pad(x, (-1, 1)))  # the input of the pixel to the right


class Undelayed(pixelrnn.DiagonalBiLSTM):
    def forward(self, x):
        return super().forward(pad(x, (0, 0, -1, 1)))


class Exchanged(pixelrnn.DiagonalBiLSTM):
    """What belongs to the upper and to the left neighbour is mixed up."""

    def forward(self, x):
        with torch.no_grad():
            self.state_to_state.copy_(self.state_to_state.roll(self.hidden, 1))
        out = super().forward(x)
        with torch.no_grad():
            self.state_to_state.copy_(self.state_to_state.roll(self.hidden, 1))
        return out


test_another_neighbour_is_seen = every_check_fails(
    {
        "row, from the right": (partial(RowAhead, 3, 2), [check_row]),
        "diagonal, another row": (partial(Undelayed, 3, 2), [check_diagonal]),
        "diagonal, exchanged": (partial(Exchanged, 3, 2), [check_diagonal]),
    }
)


def test_skew():
    x = torch.randn(2, 3, 4, 5)
    tilted = skew(x)
    assert tilted.shape == (2, 3, 4, 8) and unskew(tilted, 5).equal(x)
    assert all(tilted[:, :, i, i + j].equal(x[:, :, i, j]) for i in range(4) for j in range(5))
    assert (tilted != 0).sum() == x.numel()
