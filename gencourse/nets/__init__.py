"""Networks, one file per family. They know nothing of losses."""

from .dcgan import DCGANDiscriminator, DCGANGenerator
from .gpt import GPT
from .made import MADE
from .mlp import MLPDiscriminator, MLPGenerator, mlp
from .pixelcnn import GatedPixelCNN, MaskedConv2d, PixelCNN
from .pixelrnn import PixelRNN, skew, unskew
from .unet import UNet, time_embedding
from .vae import ConvDecoder, ConvEncoder

__all__ = [
    "ConvDecoder",
    "ConvEncoder",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "GPT",
    "GatedPixelCNN",
    "MADE",
    "MLPDiscriminator",
    "MLPGenerator",
    "MaskedConv2d",
    "PixelCNN",
    "PixelRNN",
    "UNet",
    "mlp",
    "skew",
    "time_embedding",
    "unskew",
]
