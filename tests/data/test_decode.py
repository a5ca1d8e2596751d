"""JPEG by simplejpeg: the bits of Pillow, which decodes what simplejpeg must not."""

from __future__ import annotations

import io
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image

from fairloss.data import decode
from fairloss.data.decode import decode_bytes, decode_image

simplejpeg = pytest.importorskip("simplejpeg")


def picture(height: int, width: int, mode: str = "RGB") -> Image.Image:
    """A smooth random picture with noise."""
    generator = np.random.default_rng(height * width)
    coarse = Image.fromarray(generator.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(float)
    noise = generator.normal(0, 12, smooth.shape)
    return Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8)).convert(mode)


def encode(image: Image.Image, format: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """Sizes of the images that simplejpeg decodes."""
    sizes: list[int] = []
    decode_jpeg = simplejpeg.decode_jpeg

    def count(data: bytes, *arguments: object) -> np.ndarray:
        pixels = decode_jpeg(data, *arguments)
        sizes.append(len(data))
        return pixels

    monkeypatch.setattr(simplejpeg, "decode_jpeg", count)
    return sizes


def same_as_pillow(data: bytes, size: tuple[int, int], channels: int = 3) -> None:
    expected = decode_image(io.BytesIO(data), size, channels)
    for decoder in ("simplejpeg", "pillow"):
        pixels = decode_bytes(data, size, channels, decoder)
        assert torch.equal(pixels, expected)


@pytest.mark.parametrize("size", [(112, 112), (33, 47)])
def test_simplejpeg_decodes_the_bits_of_pillow(calls, size):
    options = list(product((30, 75, 95, 100), (0, 1, 2), (False, True)))
    for quality, subsampling, progressive in options:
        encoded = encode(
            picture(*size), quality=quality, subsampling=subsampling, progressive=progressive
        )
        same_as_pillow(encoded, size)
    assert len(calls) == len(options)


ORIENTED = Image.Exif()
ORIENTED[0x0112] = 6
TURNED = encode(picture(32, 32), exif=ORIENTED)
PILLOWS = {
    "another size": (encode(picture(40, 32)), (32, 32)),
    "gray": (encode(picture(32, 32, "L")), (32, 32)),
    "CMYK": (encode(picture(32, 32, "CMYK")), (32, 32)),
    "turned by EXIF": (TURNED, (32, 32)),
    "turned by EXIF behind a fill byte": (TURNED[:2] + b"\xff" + TURNED[2:], (32, 32)),
    "turned by XMP": (
        encode(picture(32, 32), xmp=b'<x tiff:Orientation="6"/>'),
        (32, 32),
    ),
    "RGB that is not converted": (encode(picture(32, 32), keep_rgb=True), (32, 32)),
    "PNG": (encode(picture(32, 32), "PNG"), (32, 32)),
    "WebP": (encode(picture(32, 32), "WEBP"), (32, 32)),
}


@pytest.mark.parametrize("name", PILLOWS)
def test_pillow_decodes_all_else(calls, name):
    data, size = PILLOWS[name]
    same_as_pillow(data, size)
    assert not calls


def test_turned_images_are_turned():
    plain = decode_bytes(encode(picture(32, 32)), (32, 32), 3, "simplejpeg")
    for name in filter(lambda name: name.startswith("turned"), PILLOWS):
        turned = decode_bytes(*PILLOWS[name], 3, "simplejpeg")
        assert torch.equal(turned, plain.rot90(-1, (1, 2)))


def test_gray_is_converted_as_pillow_does(calls):
    same_as_pillow(encode(picture(32, 32)), (32, 32), 1)
    assert not calls


def test_damage_is_judged_by_pillow():
    data = encode(picture(32, 32))
    for size in range(0, len(data), 13):
        errors = []
        for decoder in ("simplejpeg", "pillow"):
            try:
                decode_bytes(data[:size], (32, 32), 3, decoder)
                errors.append("")
            except Exception as error:
                errors.append(type(error).__name__)
        assert errors[0] == errors[1] != ""


def test_bytes_behind_the_image_are_ignored(calls):
    same_as_pillow(encode(picture(32, 32)) + b"more", (32, 32))


def test_pillow_is_the_decoder_without_simplejpeg(monkeypatch):
    assert decode.jpeg_decoder() == "simplejpeg"
    monkeypatch.setattr(decode, "find_spec", lambda name: None)
    assert decode.jpeg_decoder() == "pillow"
