"""Pictures inside a page: small files in the page's own text, within a budget of bytes."""

import base64
import io
import pathlib

from crnn_jax.errors import UserError

_EXACT = 128  # pixels of the longer side up to which a picture is kept to the bit


class Budget:
    """How many bytes of pictures a page may still hold."""

    def __init__(self, num_bytes: int) -> None:
        self.left = num_bytes

    def embed(self, path: pathlib.Path, longest: int) -> str | None:
        """Returns the picture as a "data:" address; None if it is not there or there is no room.

        Args:
          path: a picture that Pillow reads.
          longest: pixels of its longer side, at most.

        Raises:
          UserError: the file is no picture.
        """
        if self.left <= 0 or not path.is_file():
            return None
        data = _small(path, longest)
        return self.take(f"data:image/webp;base64,{base64.b64encode(data).decode()}")

    def take(self, picture: str) -> str | None:
        """Returns the picture, ASCII or nearly, if there is room for it."""
        if len(picture) > self.left:
            return None
        self.left -= len(picture)
        return picture


def _small(path: pathlib.Path, longest: int) -> bytes:
    """Returns the picture as WebP, without what else its file holds."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"'{path}' cannot be read as a picture ({error}): make it anew") from error
    image.thumbnail((longest, longest))
    buffer = io.BytesIO()
    # In a small picture each pixel counts; a large one would take long and be three times the size.
    exact = max(image.size) <= _EXACT
    image.save(buffer, "webp", lossless=exact, quality=82, method=2)
    return buffer.getvalue()
