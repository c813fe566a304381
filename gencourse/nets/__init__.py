"""Networks, one file per family. They know nothing of losses."""

from .dcgan import DCGANDiscriminator, DCGANGenerator
from .mlp import MLPDiscriminator, MLPGenerator, mlp
from .unet import UNet, time_embedding
from .vae import ConvDecoder, ConvEncoder

__all__ = [
    "ConvDecoder",
    "ConvEncoder",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "MLPDiscriminator",
    "MLPGenerator",
    "UNet",
    "mlp",
    "time_embedding",
]
