"""Reads the images of a request, within limits."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator

from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a request may cost.

    Attributes:
      body_bytes: most that a request has.
      pixels: most that an image has, as it declares them.
      images: most in a request.
      requests: that are being answered; one more is told to come again.
      read_seconds: for a body to arrive.
    """

    body_bytes: int = 32 * 2**20
    pixels: int = 25_000_000
    images: int = 64
    requests: int = 256
    read_seconds: float = 30.0


async def read_images(request: Request, limits: Limits) -> list[tuple[str, bytes]]:
    """Returns (name, encoded image) of each image in the body.

    Raises:
      HTTPException: 400 a form that cannot be read, 408 it takes too long, 413 too large, 415
        another content type, 422 no image or too many.
    """
    try:
        async with asyncio.timeout(limits.read_seconds):
            return await _read(request, limits)
    except TimeoutError:
        seconds = f"{limits.read_seconds:g}"
        raise HTTPException(408, f"expected the body within {seconds} s") from None


async def _read(request: Request, limits: Limits) -> list[tuple[str, bytes]]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        images = await _of_form(request, limits)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        body = b"".join([part async for part in _limited(request, limits)])
        images = [("image", body)] if body else []
    else:
        raise HTTPException(
            415,
            f"expected multipart/form-data, image/* or application/octet-stream, found '{kind}'",
        )
    if not 1 <= len(images) <= limits.images:
        raise HTTPException(422, f"expected 1 to {limits.images} images, found {len(images)}")
    return images


async def _of_form(request: Request, limits: Limits) -> list[tuple[str, bytes]]:
    parser = MultiPartParser(
        request.headers,
        _limited(request, limits),
        max_files=limits.images + 1,  # one more is a mistake with a line of its own
        max_fields=limits.images,
        max_part_size=limits.body_bytes,
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        reason = getattr(error, "message", None) or str(error)
        raise HTTPException(400, f"expected a form that can be read, found: {reason}") from None
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    images = [(file.filename or "image", await file.read()) for file in files]
    await form.close()
    return images


async def _limited(request: Request, limits: Limits) -> AsyncGenerator[bytes, None]:
    """Yields the parts of the body.

    Raises:
      HTTPException: 413.
    """
    too_large = HTTPException(413, f"expected a body of at most {limits.body_bytes} bytes")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.body_bytes:
        raise too_large
    count = 0
    async for part in request.stream():
        count += len(part)
        if count > limits.body_bytes:
            raise too_large
        yield part
