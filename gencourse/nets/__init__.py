"""Networks, one file per family. They know nothing of losses."""

from .mlp import MLPDiscriminator, MLPGenerator, mlp

__all__ = ["MLPDiscriminator", "MLPGenerator", "mlp"]
