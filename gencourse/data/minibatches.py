"""Endless minibatches: of tensors in memory, or of a distribution."""

import torch

from ..errors import require


class batches:
    """Endless minibatches of a data set in memory, or of fresh samples of a distribution.

    Of tensors, every epoch is a new random order, indexed where the data lies (no copies, no workers); the last,
    incomplete batch of an epoch is dropped. Of a distribution, no sample is ever seen twice.

    Args:
        source: a tensor (N, ...), or a tuple of tensors that share N; or a ``torch.distributions`` object, or a
            function of the batch size.
        batch_size: B, between 1 and N.
        seed: of the order; torch's global random state is left alone. A distribution draws from that state.

    Yields:
        (B, ...), or a tuple of such tensors; what the distribution or function gives.

    Raises:
        ValueError: if the tensors differ in length, or there are fewer than ``batch_size``.

    >>> stream = batches(torch.arange(6), batch_size=3)
    >>> sorted(torch.cat([next(stream), next(stream)]).tolist())
    [0, 1, 2, 3, 4, 5]
    >>> next(batches(torch.distributions.Normal(0.0, 1.0), 4)).shape
    torch.Size([4])
    """

    def __init__(self, source, batch_size, seed=0):
        self.source, self.batch_size, self.tensors = source, batch_size, None
        if isinstance(source, torch.Tensor | tuple):
            self.tensors = source if isinstance(source, tuple) else (source,)
            sizes = [len(v) for v in self.tensors]
            require(len(set(sizes)) == 1, "source", sizes, "tensors of one length N")
            allowed = f"between 1 and the number of samples, {sizes[0]}"
            require(0 < batch_size <= sizes[0], "batch_size", batch_size, allowed)
            self.generator = torch.Generator().manual_seed(int(seed))
            self._new_epoch()

    def _new_epoch(self):
        self.epoch_state = self.generator.get_state()
        self.order = torch.randperm(len(self.tensors[0]), generator=self.generator).to(self.tensors[0].device)
        self.position = 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.tensors is None:
            draw = getattr(self.source, "sample", None)
            return draw((self.batch_size,)) if draw else self.source(self.batch_size)
        if self.position + self.batch_size > len(self.order):
            self._new_epoch()
        chosen = self.order[self.position : self.position + self.batch_size]
        self.position += self.batch_size
        picked = tuple(v.index_select(0, chosen) for v in self.tensors)  # on the CPU twice as fast as v[chosen]
        return picked if isinstance(self.source, tuple) else picked[0]

    def state_dict(self):
        """What a checkpoint needs to go on with the very next batch; nothing for a distribution."""
        if self.tensors is None:
            return {}
        return {"epoch_state": self.epoch_state, "position": self.position, "n": len(self.order)}

    def load_state_dict(self, state):
        """Go on where :meth:`state_dict` was taken.

        Raises:
            ValueError: if that was over another number of samples: their order would mean nothing here.
        """
        if self.tensors is None:
            return
        require(state["n"] == len(self.order), "n", state["n"], f"the number of samples, {len(self.order)}")
        self.generator.set_state(state["epoch_state"])
        self._new_epoch()
        self.position = state["position"]
