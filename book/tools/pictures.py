"""The picture of the README and that of social previews: the first 64 samples of the finished DDPM, none chosen.

python book/tools/pictures.py
"""

from pathlib import Path

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "notebooks" / "weights" / "finished" / "ddpm.npz"
OUT = ROOT / "book" / "_static"


def grid(images, columns, side, gap=3):
    """Images (N, 28, 28) of bytes in rows of ``columns``, each ``side`` pixels wide, as one picture."""
    rows = -(-len(images) // columns)
    sheet = Image.new("L", (columns * (side + gap) - gap, rows * (side + gap) - gap), 255)
    for i, image in enumerate(images):
        place = (i % columns * (side + gap), i // columns * (side + gap))
        sheet.paste(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC), place)
    return sheet


def preview(images):
    """1200 x 630: what is shown where a link to the book is shared."""
    sheet = Image.new("RGB", (1200, 630), "#00588f")
    draw = ImageDraw.Draw(sheet)
    title, motto = "Deep generative models", "A course in which every equation is executable"
    for words, weight, size, top in ((title, "bold", 66, 60), (motto, "normal", 34, 150)):
        font = font_manager.findfont(font_manager.FontProperties(family="DejaVu Sans", weight=weight))
        draw.text((64, top), words, "white", ImageFont.truetype(font, size))
    sheet.paste(grid(images, 16, 72), (0, 333))
    return sheet


if __name__ == "__main__":
    with np.load(SAMPLES) as file:
        first = file["samples"][:64, 0]
    grid(first, 16, 84).save(OUT / "digits.png", optimize=True)
    preview(first).save(OUT / "preview.png", optimize=True)
