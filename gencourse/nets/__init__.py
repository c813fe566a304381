"""Networks, one file per family. They know nothing of losses."""

from .dcgan import DCGANDiscriminator, DCGANGenerator
from .dit import DiT, DiTBlock
from .flow import Coupling, Flow, InvertibleConv, affine, spline
from .gpt import GPT
from .made import MADE
from .mlp import MLPDiscriminator, MLPGenerator, mlp
from .pixelcnn import GatedPixelCNN, MaskedConv2d, PixelCNN, conv_mask
from .pixelrnn import PixelRNN, skew, unskew
from .unet import UNet, time_embedding
from .vae import VQVAE, Autoencoder, ConvDecoder, ConvEncoder

__all__ = [
    "mlp", "MLPGenerator", "MLPDiscriminator", "DCGANGenerator", "DCGANDiscriminator",
    "ConvEncoder", "ConvDecoder", "VQVAE", "Autoencoder", "UNet", "time_embedding", "DiT", "DiTBlock",
    "MADE", "conv_mask", "MaskedConv2d", "PixelCNN", "GatedPixelCNN", "PixelRNN", "skew", "unskew", "GPT",
    "affine", "spline", "Coupling", "InvertibleConv", "Flow",
]  # fmt: skip
