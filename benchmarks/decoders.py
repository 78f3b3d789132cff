"""JPEG decoders side by side on real images: whole, and a random-resized crop at 224 pixels.

    TFDS_DATA_DIR=... python benchmarks/decoders.py [--repeats 5] [--write]
        [--turbojpeg_library PATH]

Decoders that are not installed are left out. Each of the crops is decoded as little as the library
can, then resized to 224 x 224: by Pillow (antialiased) where the library is Pillow's, else by
OpenCV (bilinear). With --turbojpeg_library (libturbojpeg.so, version 3) its region decoding too,
through ctypes, since no kept package brings it. Milliseconds an image on one core,
min/median/max over interleaved repeats. --write appends to results/benchmarks/decoders.jsonl.
"""

import argparse
import collections
import ctypes
import importlib
import io
from collections.abc import Callable
from typing import Any

import cv2
import jpegs
import numpy as np
from PIL import Image, features
from timing import append, interleave, spread

from crnn_jax.data import jpeg
from crnn_jax.data.box import Box

Decode = Callable[[bytes], Any]
Crop = Callable[[bytes, Box], Any]
SIZE = (jpegs.SIZE, jpegs.SIZE)


def resize(part_HWC: np.ndarray) -> np.ndarray:
    """Returns what every decoder but Pillow ends with."""
    return cv2.resize(part_HWC, SIZE, interpolation=cv2.INTER_LINEAR)


def inside(image_HWC: np.ndarray, box: Box) -> np.ndarray:
    """Returns the box of a whole image."""
    top, left, height, width = map(int, box)
    return image_HWC[top : top + height, left : left + width]


def pillow(draft: bool) -> tuple[Decode, Crop]:
    """Returns Pillow's; with `draft` at 1/2, 1/4 or 1/8 where the crop allows."""

    def decode(data: bytes) -> Any:
        return Image.open(io.BytesIO(data)).convert("RGB")

    def crop(data: bytes, box: Box) -> Any:
        image = Image.open(io.BytesIO(data))
        whole = image.size
        scale = int(min(box.height, box.width)) // SIZE[0]
        if draft and scale >= 2:
            image.draft("RGB", (whole[0] // scale, whole[1] // scale))
        factor = image.size[0] / whole[0]
        top, left, height, width = (side * factor for side in box)
        part = (left, top, left + width, top + height)
        return np.asarray(image.convert("RGB").resize(SIZE, Image.Resampling.BILINEAR, box=part))

    return decode, crop


def opencv() -> tuple[Decode, Crop]:
    """Returns OpenCV's, with its reduced sizes."""
    reduced = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}

    def decode(data: bytes, scale: int = 1) -> np.ndarray:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), reduced[scale])
        assert found is not None
        return found

    def crop(data: bytes, box: Box) -> Any:
        finest = min(box.height, box.width) // SIZE[0]
        scale = 4 if finest >= 4 else 2 if finest >= 2 else 1
        part = inside(decode(data, scale), Box(*(side // scale for side in box)))
        return cv2.cvtColor(resize(part), cv2.COLOR_BGR2RGB)

    return decode, crop


def simplejpeg() -> tuple[Decode, Crop]:
    """Returns the chosen one: the program that training runs."""

    def crop(data: bytes, box: Box) -> Any:
        return jpeg.decode_box(data, lambda height, width: box, (*SIZE, 3), "image")

    return jpeg.simplejpeg.decode_jpeg, crop


def imagecodecs() -> tuple[Decode, Crop]:
    """Returns that of imagecodecs: whole images alone."""
    library: Any = importlib.import_module("imagecodecs")

    def decode(data: bytes) -> Any:
        return library.jpeg8_decode(data, outcolorspace="RGB")

    return decode, lambda data, box: resize(inside(decode(data), box))


def pyvips() -> tuple[Decode, Crop]:
    """Returns that of libvips, which reads on demand: rows below a crop are not decoded."""
    library: Any = importlib.import_module("pyvips")

    def image(data: bytes) -> Any:
        return library.Image.new_from_buffer(data, "", access="sequential").colourspace("srgb")

    def crop(data: bytes, box: Box) -> Any:
        top, left, height, width = map(int, box)
        return resize(image(data).crop(left, top, width, height).numpy())

    return lambda data: image(data).numpy(), crop


def pyturbojpeg(path: str) -> tuple[Decode, Crop]:
    """Returns PyTurboJPEG's: whole images alone, since its crop writes another JPEG."""
    library: Any = importlib.import_module("turbojpeg")
    decoder = library.TurboJPEG(path)

    def decode(data: bytes) -> Any:
        return decoder.decode(data, pixel_format=library.TJPF_RGB)

    return decode, lambda data, box: resize(inside(decode(data), box))


class _Region(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_int) for name in "xywh")


def turbojpeg_region(path: str) -> tuple[Decode, Crop]:
    """Returns libturbojpeg 3's own decoding of a region (tj3SetCroppingRegion)."""
    library = ctypes.CDLL(path)
    handle_t, size_t, int_t = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    library.tj3Init.restype = handle_t
    library.tj3Get.argtypes = (handle_t, int_t)
    library.tj3SetCroppingRegion.argtypes = (handle_t, _Region)
    library.tj3DecompressHeader.argtypes = (handle_t, ctypes.c_char_p, size_t)
    library.tj3Decompress8.argtypes = (
        handle_t, ctypes.c_char_p, size_t, handle_t, int_t, int_t
    )  # fmt: skip
    handle = library.tj3Init(1)  # to decompress
    unit_width = (8, 16, 16, 8, 8, 32, 8)  # by subsampling: where a region may begin

    def decode(data: bytes, box: Box | None = None) -> np.ndarray:
        library.tj3DecompressHeader(handle, data, len(data))
        subsampling, width, height = (library.tj3Get(handle, number) for number in (4, 5, 6))
        region = _Region(0, 0, 0, 0)
        if box is not None:
            top, left, height, width = map(int, box)
            start = left // unit_width[subsampling] * unit_width[subsampling]
            width += left - start
            region = _Region(start, top, width, height)
        image_HWC = np.empty((height, width, 3), np.uint8)
        library.tj3SetCroppingRegion(handle, region)
        if library.tj3Decompress8(handle, data, len(data), image_HWC.ctypes.data, 0, 0):
            raise SystemExit("libturbojpeg could not decode an image")
        return image_HWC

    return decode, lambda data, box: resize(decode(data, box)[:, -int(box.width) :])


def decoders(library: str | None) -> dict[str, tuple[Decode, Crop]]:
    """Returns name -> (decode, crop) of those that are installed."""
    make: dict[str, Callable[[], tuple[Decode, Crop]]] = {
        "Pillow": lambda: pillow(draft=False),
        "Pillow, draft": lambda: pillow(draft=True),
        "OpenCV, reduced": opencv,
        "simplejpeg, rows, reduced": simplejpeg,
        "imagecodecs": imagecodecs,
        "pyvips": pyvips,
    }
    if library is not None:
        make["PyTurboJPEG"] = lambda: pyturbojpeg(library)
        make["libturbojpeg 3, region"] = lambda: turbojpeg_region(library)
    found = {}
    for name, factory in make.items():
        try:
            found[name] = factory()
        except (ImportError, OSError, RuntimeError) as error:
            print(f"{name}: left out ({error})")
    return found


def main() -> None:
    """Times all and prints a line for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--turbojpeg_library", help="libturbojpeg.so of version 3")
    parser.add_argument("--write", action="store_true", help="append to results/benchmarks")
    flags = parser.parse_args()
    images = jpegs.files(jpegs.load())
    boxes = []
    for number, data in enumerate(images):
        width, height = Image.open(io.BytesIO(data)).size
        boxes.append(jpegs.CROP.box(0, number, height, width))

    def whole(decode: Decode) -> Callable[[], Any]:
        return lambda: collections.deque(map(decode, images), maxlen=0)

    def cropped(crop: Crop) -> Callable[[], Any]:
        return lambda: collections.deque(map(crop, images, boxes), maxlen=0)

    programs: dict[str, Callable[[], Any]] = {}
    for name, (decode, crop) in decoders(flags.turbojpeg_library).items():
        programs[f"{name}|whole"], programs[f"{name}|crop"] = whole(decode), cropped(crop)
    seconds = interleave(programs, flags.repeats)
    found = {key: [1e3 * s / len(images) for s in spread(v)] for key, v in seconds.items()}
    for name in dict.fromkeys(key.partition("|")[0] for key in programs):
        record = {"decoder": name, **{kind: found[f"{name}|{kind}"] for kind in ("whole", "crop")}}
        record["ratio"] = found["Pillow|crop"][1] / record["crop"][1]
        print(
            f"{name:26} whole {record['whole'][1]:.3f} ms, crop {record['crop'][1]:.3f} ms, "
            f"{record['ratio']:.2f} times Pillow's rate"
        )
        if flags.write:
            more = {"images": len(images), "repeats": flags.repeats, "pillow_libjpeg_turbo":
                    features.version("libjpeg_turbo")}  # fmt: skip
            append("decoders", {**more, "unit": "ms an image [min, median, max]", **record})


if __name__ == "__main__":
    main()
