"""Image files become the pixels that a model declares, and nothing that a file says can cost more than that."""

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from inference.inputs import canonical, images
from inference.runtimes import inputs
from inference.types import ImageFile
from mlplatform.lib.errors import ErrorKind, PlatformError
from tests.support.examples import examples
from tests.support.input_kinds import file_of, picture

EXACT: dict[str, Any] = {"kind": "image", "height": 8, "width": 8, "channels": 3}
GREY = EXACT | {"channels": 1}


def pixels(data: bytes, schema: dict[str, Any] = EXACT) -> Any:
    found = inputs.decode(canonical.encode(schema, ImageFile(data), field="input"))
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.uint8
    assert found.shape == (schema["height"], schema["width"], schema["channels"])
    return found


def refused(data: bytes, schema: dict[str, Any] = EXACT) -> str:
    with pytest.raises(PlatformError) as caught:
        canonical.encode(schema, ImageFile(data), field="input")
    assert caught.value.kind is ErrorKind.INVALID_INPUT
    assert caught.value.field == "input"
    return caught.value.detail


def halves(width: int, height: int) -> Any:
    """Red on the left, blue on the right."""
    made = np.zeros((height, width, 3), dtype=np.uint8)
    made[:, : width // 2, 0] = made[:, width // 2 :, 2] = 255
    return made


def test_an_image_of_the_models_size_keeps_every_pixel_in_every_format() -> None:
    np.testing.assert_array_equal(pixels(file_of(picture())), picture())
    np.testing.assert_array_equal(pixels(file_of(picture(), "WEBP", lossless=True)), picture())
    blurred = pixels(file_of(picture(), "JPEG", quality=95)).astype(int)
    assert 0 < np.abs(blurred - picture()).mean() < 60


def test_one_picture_in_two_formats_is_one_input() -> None:
    def encoded(data: bytes) -> bytes:
        return canonical.encode(EXACT, ImageFile(data), field="input")

    assert encoded(file_of(picture())) == encoded(file_of(picture(), "WEBP", lossless=True))
    other = picture()
    other[0, 0, 0] ^= 1
    assert encoded(file_of(picture())) != encoded(file_of(other))


def test_the_three_ways_to_make_it_fit() -> None:
    wide = file_of(halves(64, 16))
    cut = pixels(wide, EXACT | {"resize": "crop"})
    np.testing.assert_array_equal(pixels(wide), cut)
    assert cut[:, 0].tolist() == [[255, 0, 0]] * 8
    assert cut[:, -1].tolist() == [[0, 0, 255]] * 8
    padded = pixels(wide, EXACT | {"resize": "pad"})
    assert padded[0].max() == padded[-1].max() == 0, "black borders above and below"
    assert padded[4, 0].tolist() == [255, 0, 0]
    stretched = pixels(wide, EXACT | {"resize": "stretch"})
    assert stretched[0, 0].tolist() == [255, 0, 0]
    assert stretched[-1, -1].tolist() == [0, 0, 255]


def test_an_image_is_turned_as_its_camera_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees clockwise to be upright
    turned = pixels(file_of(halves(8, 8), "JPEG", quality=100, subsampling=0, exif=exif)).astype(int)
    assert turned[0, :, 0].min() > 200, "the left, red half is on top now"
    assert turned[-1, :, 2].min() > 200


def test_transparency_palettes_greys_and_sixteen_bits() -> None:
    clear = np.zeros((8, 8, 4), dtype=np.uint8)
    assert pixels(file_of(clear)).min() == 255, "what is transparent is white"
    assert pixels(file_of(clear), GREY).min() == 255
    ramp = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    np.testing.assert_array_equal(pixels(file_of(ramp), GREY)[:, :, 0], ramp)
    np.testing.assert_array_equal(pixels(file_of(ramp))[:, :, 2], ramp)
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1024
    np.testing.assert_array_equal(pixels(file_of(deep), GREY)[:, :, 0], (deep >> 8).astype(np.uint8))
    two = Image.fromarray(halves(8, 8)).convert("P", palette=Image.Palette.ADAPTIVE)
    np.testing.assert_array_equal(pixels(file_of(np.asarray(two.convert("RGB")))), halves(8, 8))


def test_a_file_that_would_fill_the_memory_is_refused_by_its_head() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for side in (5_001, 100_000):
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        bomb = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
        assert f"{images.MAX_PIXELS:,}" in refused(bomb)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"no image", "none of PNG"),
        (file_of(picture(), "GIF"), "none of PNG"),
        (file_of(picture(), "BMP"), "none of PNG"),
        (file_of(picture(), "TIFF"), "none of PNG"),
        (file_of(picture())[:60], "damaged"),
        (file_of(picture(), "JPEG")[:-40], "damaged"),
        (
            file_of(picture(), save_all=True, append_images=[Image.fromarray(halves(8, 8))]),
            "animation",
        ),
    ],
)
def test_what_is_no_image_that_is_taken_is_refused(data: bytes, words: str) -> None:
    assert words in refused(data)


def attempt(data: bytes) -> int | ErrorKind:
    """How many canonical bytes the file makes, or how it is refused."""
    try:
        return len(canonical.encode(EXACT, ImageFile(data), field="input"))
    except PlatformError as problem:
        return problem.kind


@examples(150)
@given(st.sampled_from(["PNG", "JPEG", "WEBP"]), st.data())
def test_a_damaged_file_is_an_answer_or_a_refusal_and_never_a_crash(form: str, data: st.DataObject) -> None:
    whole = bytearray(file_of(picture(), form))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    found = attempt(bytes(whole))
    assert found is ErrorKind.INVALID_INPUT or found == 1 + 1 + 3 * 4 + 8 * 8 * 3
