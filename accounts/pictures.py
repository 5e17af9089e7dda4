"""Making a stranger's image file harmless: read by its content, checked before it is decoded, drawn anew.

What leaves here is a JPEG of our own encoder, at most 512 pixels a side, without metadata: no place and time of the
shot, and nothing but pixels of what was sent.
"""

import io
from threading import Lock
from typing import BinaryIO

from PIL import Image, ImageOps

from api.errors import Invalid

FORMATS = ("JPEG", "PNG", "WEBP")
LARGEST_FILE = 5 * 1024 * 1024  # bytes
# Decoding takes up to 16 bytes a pixel (WebP, measured): 250 MB for a third of a second. Telephones take 12 million.
MOST_PIXELS = 16_000_000
SIDE = 512  # pixels
# So one at a time in a process.
DECODING = Lock()


class UnusablePicture(Invalid):
    """Not a still JPEG, PNG or WebP image of sensible size."""

    code, message = "unusable_picture", "Choose a JPEG, PNG or WebP picture."


def redraw(file: BinaryIO) -> bytes:
    """Return the picture as a small JPEG, the right way up, on white where it was transparent.

    :raises UnusablePicture: it is no such image, is animated, damaged or too large
    """
    try:
        with DECODING:
            return _redraw(file)
    except UnusablePicture:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UnusablePicture("The picture has too many pixels.") from error
    except Exception as error:
        # Fed with garbage, decoders raise whatever they trip over: OSError, ValueError, SyntaxError, struct.error ...
        raise UnusablePicture from error


def _redraw(file: BinaryIO) -> bytes:
    with Image.open(file, formats=FORMATS) as image:
        # The header alone was read so far.
        if image.width * image.height > MOST_PIXELS:
            raise UnusablePicture("The picture has too many pixels.")
        # A JPEG of several frames is a phone's photograph with its preview; the first is the picture.
        if image.format in ("PNG", "WEBP") and getattr(image, "is_animated", False):
            raise UnusablePicture("Choose a picture that does not move.")
        image.thumbnail((SIDE, SIDE))
        upright = ImageOps.exif_transpose(image).convert("RGBA")
    drawn = Image.new("RGB", upright.size, "white")
    drawn.paste(upright, mask=upright.getchannel("A"))
    out = io.BytesIO()
    drawn.save(out, "JPEG", quality=85, optimize=True)
    return out.getvalue()
