"""Image files to pixels of a model's size: what every process does with an image before anything else sees it.

Pillow reads PNG, JPEG and WebP here and nothing else. A file's size in pixels is known from its head, so one that would
fill the memory is refused before it is unpacked; and only a few are unpacked at once.
"""

import io
import struct
import threading
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError, invalid

FORMATS: Final = ("PNG", "JPEG", "WEBP")
MAX_PIXELS: Final = 25_000_000
"""Of a file, before it is made smaller: 75 MB while it is unpacked."""

_AT_ONCE: Final = 2
_BROKEN: Final = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, ArithmeticError,
    AttributeError, struct.error,
)  # fmt: skip
_WHITE: Final = (255, 255, 255, 255)
unpacking: Final = threading.BoundedSemaphore(_AT_ONCE)


def size(data: bytes, *, field: str) -> int:
    """How many pixels the file has by its head; nothing is unpacked. Raises INVALID_INPUT that names ``field``."""
    with _opened(data, field) as image:
        return image.width * image.height


def pixels(data: bytes, schema: Mapping[str, Any], *, field: str, until: float | None = None) -> npt.NDArray[np.uint8]:
    """uint8 ``[height, width, channels]`` as ``schema`` declares them.

    It is turned as its EXIF data say, what is transparent becomes white, and it is made to fit by ``resize``: ``crop``
    (the default) fills the model's size and cuts what stands over, ``stretch`` does not keep the proportions, ``pad`` keeps
    them and leaves black borders. Raises INVALID_INPUT that names ``field``, and TIMEOUT where other
    images are unpacked ``until`` then (monotonic clock).
    """
    height, width, channels = int(schema["height"]), int(schema["width"]), int(schema["channels"])
    mode = "L" if channels == 1 else "RGB"
    if not unpacking.acquire(timeout=max(0.0, until - clock.monotonic()) if until is not None else -1):
        raise PlatformError(
            ErrorKind.TIMEOUT, "Other images were unpacked for too long; nothing was charged.", retry_after_s=1.0
        )
    try:
        try:
            with _opened(data, field) as image:
                # A JPEG can be unpacked at a half, a quarter or an eighth of its size, never below what is asked for.
                image.draft(mode, (width, height))
                upright = ImageOps.exif_transpose(image)
                fitted = _fitted(_flat(upright, mode), (width, height), str(schema.get("resize", "crop")))
                return np.asarray(fitted, dtype=np.uint8).reshape(height, width, channels)
        except PlatformError:
            raise
        except (Image.DecompressionBombError, *_BROKEN) as error:
            raise invalid(field, "The image cannot be read: the file is damaged or cut off.") from error
    finally:
        unpacking.release()


def _opened(data: bytes, field: str) -> Image.Image:
    """The image, not yet unpacked."""
    if not data:
        raise invalid(field, "The image is empty.")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise invalid(field, f"The image has more than the {MAX_PIXELS:,} pixels that are taken.") from error
    except _BROKEN as error:
        raise invalid(field, "The image is none of PNG, JPEG and WebP.") from error
    if image.width * image.height > MAX_PIXELS:
        raise invalid(
            field, f"The image has {image.width:,} × {image.height:,} pixels; at most {MAX_PIXELS:,} are taken."
        )
    if getattr(image, "n_frames", 1) > 1:
        raise invalid(field, "The image is an animation; send one picture.")
    return image


def _flat(image: Image.Image, mode: str) -> Image.Image:
    """The image in grey or in colours, without transparency."""
    if image.mode.startswith("I"):
        # Sixteen bits a pixel, which Pillow would cut off at 255 instead of dividing.
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)).convert(mode)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    return image if image.mode == mode else image.convert(mode)


def _fitted(image: Image.Image, size: tuple[int, int], resize: str) -> Image.Image:
    if image.size == size:
        return image
    match resize:
        case "stretch":
            return image.resize(size, Image.Resampling.BILINEAR)
        case "pad":
            return ImageOps.pad(image, size, Image.Resampling.BILINEAR)
        case _:
            return ImageOps.fit(image, size, Image.Resampling.BILINEAR)
