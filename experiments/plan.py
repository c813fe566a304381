"""Which models the marathon trains, with which options, and for how long."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import gencourse as gc

from .latents import autoencoder, words_to_pictures
from .models import (
    adversarial,
    diffusion,
    energy,
    gpt_on_pixels,
    gpt_on_text,
    normalizing_flow,
    one_step,
    pixel_by_pixel,
    smooth_flow,
    vae,
    vq_vae,
)


@dataclass
class Entry:
    """One model of the plan: a family, its options, and how many steps on the two kinds of machines."""

    family: Callable
    options: dict
    laptop: int
    gpu: int

    @property
    def fast(self):
        """Whether its step may be compiled, and in bfloat16: one network, no second derivatives, losses in float32."""
        return self.family in (diffusion, pixel_by_pixel, gpt_on_pixels, gpt_on_text)

    def steps(self):
        return gc.by_profile(smoke=20, laptop=self.laptop, gpu=self.gpu)

    def make(self, steps):
        return self.family(steps, **self.options)

    def recipe(self):
        """Family and all options, defaults included, as text."""
        bound = inspect.signature(self.family).bind(0, **self.options)
        bound.apply_defaults()
        written = (f"{key}={_name(value)}" for key, value in list(bound.arguments.items())[1:])
        return f"{self.family.__name__}({', '.join(written)})"


def _name(value):
    if isinstance(value, partial):
        given = [*map(str, value.args), *(f"{key}={v}" for key, v in value.keywords.items())]
        return f"{value.func.__name__}({', '.join(given)})"
    return getattr(value, "__name__", str(value))


DCGAN = {"batch_norm": False, "spectral": True, "betas": (0.0, 0.9), "lr": 3e-3}
TODAY = {"objective": "relativistic", "gamma": 1.0, "lazy": 4, "batch_norm": False, "betas": (0.0, 0.99), "lr": 2e-3}
WGAN_GP = {"objective": "wasserstein", "gamma": 10.0, "lazy": 4, "batch_norm": False, "betas": (0.0, 0.9), "lr": 3e-3}
WGAN = {"objective": "wasserstein", "clip": 0.03, "cosine": False, "k": 5}
FLOW = {"lr": 4e-3}
WIDE_PIXELCNN = {"make": partial(gc.nets.PixelCNN, 64), "lr": 5e-3, "cycles": (4, 1, 3)}
DDPM = {"objective": "v", "times": "both", "lr": 4e-3}
BETTER_VAE = {"channels": (32, 64), "hidden": 256}
SMALL_FLOW = {"hidden": 32, "scales": (4, 4)}
FASHION = {"data": gc.data.fashion_mnist}

PLAN = {  # in this order
    "GAN of today": Entry(adversarial, TODAY, 60_000, 100_000),
    "DDPM": Entry(diffusion, DDPM, 35_000, 100_000),
    "DCGAN": Entry(adversarial, DCGAN, 80_000, 100_000),
    "VAE": Entry(vae, BETTER_VAE, 55_000, 100_000),
    "PixelCNN": Entry(pixel_by_pixel, WIDE_PIXELCNN, 80_000, 80_000),
    "normalizing flow": Entry(normalizing_flow, {}, 45_000, 60_000),
    "smooth flow": Entry(smooth_flow, {}, 25_000, 60_000),
    "smooth flow by class": Entry(smooth_flow, {"classes": 10, "temperature": 0.6}, 40_000, 60_000),
    "energy network": Entry(energy, {}, 12_000, 60_000),
    "flow matching": Entry(diffusion, FLOW, 35_000, 100_000),
    "consistency": Entry(one_step, {"way": "consistency"}, 12_000, 60_000),
    "MeanFlow": Entry(one_step, {"way": "MeanFlow"}, 24_000, 60_000),
    "reflow": Entry(one_step, {"way": "reflow"}, 12_000, 60_000),
    "caption autoencoder": Entry(autoencoder, {}, 6_000, 40_000),
    "words to pictures": Entry(words_to_pictures, {}, 15_000, 100_000),
    "WGAN-GP": Entry(adversarial, WGAN_GP, 60_000, 100_000),
    "gated PixelCNN": Entry(pixel_by_pixel, {"make": partial(gc.nets.GatedPixelCNN, 24, 4, 5)}, 30_000, 60_000),
    "GPT on Shakespeare": Entry(gpt_on_text, {}, 20_000, 20_000),
    "Diagonal BiLSTM": Entry(pixel_by_pixel, {"make": partial(gc.nets.PixelRNN, "diagonal", 32, 1)}, 30_000, 60_000),
    "Row LSTM": Entry(pixel_by_pixel, {"make": partial(gc.nets.PixelRNN, "row")}, 60_000, 60_000),
    "GPT on pixels": Entry(gpt_on_pixels, {}, 30_000, 60_000),
    "guided DDPM": Entry(diffusion, {**DDPM, "classes": 10, "guidance": 0.5}, 40_000, 100_000),
    "conditional GAN": Entry(adversarial, {**DCGAN, "classes": 10}, 100_000, 100_000),
    "conditional VAE": Entry(vae, {**BETTER_VAE, "classes": 10}, 60_000, 100_000),
    "VQ-VAE with prior": Entry(vq_vae, {}, 30_000, 60_000),
    "GAN": Entry(adversarial, {"networks": "MLP", "lr": 4e-4}, 100_000, 100_000),
    "WGAN": Entry(adversarial, WGAN, 100_000, 100_000),
    "emoji DCGAN": Entry(adversarial, {"data": gc.data.emoji, "latent": 100, "channels": (512, 256, 128, 64),
                                       "channels_D": (64, 128, 256, 512), "lr": 2e-4, "batch": 32}, 20_000, 60_000),
    "FashionMNIST GAN of today": Entry(adversarial, {**TODAY, **FASHION}, 40_000, 100_000),
    "FashionMNIST VAE": Entry(vae, {**BETTER_VAE, **FASHION}, 40_000, 100_000),
    "FashionMNIST DDPM": Entry(diffusion, {**DDPM, **FASHION}, 30_000, 100_000),
    "FashionMNIST normalizing flow": Entry(normalizing_flow, {**SMALL_FLOW, **FASHION}, 20_000, 40_000),
    "FashionMNIST PixelCNN": Entry(pixel_by_pixel, {"make": gc.nets.PixelCNN, **FASHION}, 20_000, 60_000),
}  # fmt: skip
