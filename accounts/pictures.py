"""Re-encoding of uploaded pictures: the stored file never contains bytes of the upload.

The result is a JPEG of our own encoder, at most 512 pixels a side. It has no metadata, which could reveal the place and
time of a photograph. The upload's format is read from its content, and its size is checked before it is decoded.
"""

import io
from threading import Lock
from typing import BinaryIO

from PIL import Image, ImageOps

from api.errors import Invalid

FORMATS = ("JPEG", "PNG", "WEBP")
LARGEST_FILE = 5 * 1024 * 1024  # bytes
# Decoding takes up to 16 bytes a pixel (WebP, measured): 250 MB for a third of a second. Phone cameras take 12 million.
MOST_PIXELS = 16_000_000
SIDE = 512  # pixels
# A process decodes one picture at a time, because of that memory.
DECODING = Lock()


class UnusablePicture(Invalid):
    """The file is no still JPEG, PNG or WebP picture of an accepted size."""

    code, message = "unusable_picture", "Choose a JPEG, PNG or WebP picture."


def reencode(file: BinaryIO) -> bytes:
    """Return the picture as a small JPEG, rotated upright, with a white background where it was transparent.

    :raises UnusablePicture: the file is no such picture, or is animated, damaged or too large
    """
    try:
        with DECODING:
            return _reencode(file)
    except UnusablePicture:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UnusablePicture("This picture has too many pixels. Choose a smaller one.") from error
    except Exception as error:
        # For damaged files decoders raise many types: OSError, ValueError, SyntaxError, struct.error ...
        raise UnusablePicture from error


def _reencode(file: BinaryIO) -> bytes:
    with Image.open(file, formats=FORMATS) as image:
        # Pillow has read only the header up to here.
        if image.width * image.height > MOST_PIXELS:
            raise UnusablePicture("This picture has too many pixels. Choose a smaller one.")
        # A JPEG with several frames is a phone's photograph with its preview; the first frame is the picture.
        if image.format in ("PNG", "WEBP") and getattr(image, "is_animated", False):
            raise UnusablePicture("This picture is animated. Choose one that is not.")
        image.thumbnail((SIDE, SIDE))
        upright = ImageOps.exif_transpose(image).convert("RGBA")
    drawn = Image.new("RGB", upright.size, "white")
    drawn.paste(upright, mask=upright.getchannel("A"))
    out = io.BytesIO()
    drawn.save(out, "JPEG", quality=85, optimize=True)
    return out.getvalue()
