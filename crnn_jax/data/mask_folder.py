"""Images and masks in two folders: a class for every pixel."""

import dataclasses
import pathlib
import sys
from typing import Any

import numpy as np

from crnn_jax.data import walk
from crnn_jax.data.class_folders import (
    IMAGES,
    Layout,
    files_below,
    hash_of_path,
    split_folders,
    subfolders,
)
from crnn_jax.data.content import Files, key_of
from crnn_jax.data.decode import (
    decode_image,
    decoding,
    fit_map,
    match_source,
    opened,
)
from crnn_jax.data.fields import IGNORE, Example
from crnn_jax.data.folder import first_shape
from crnn_jax.data.splits import Source, Split, fingerprint, masked_fields
from crnn_jax.data.walk import File, composed
from crnn_jax.errors import CorruptImageError, UserError

_Pair = tuple[File, File]  # an image and its mask
_PAIR = ("images", "masks")  # their folders


def load(location: str, data_config: Any, seed: int) -> Source:
    """Returns the RGB images and masks below the folder `location`.

    The layout is PATH/train/images/NAME.jpg (or another image) with PATH/train/masks/NAME.png, and
    the same below PATH/test and PATH/val, which are read as in `folder.load`; or PATH/images and
    PATH/masks, of which a part is held out as there. A mask is a PNG of one channel or a palette,
    as large as its image, whose numbers are classes; 255 is ignored. PATH/classes.txt names the
    classes, one a line; without it they are numbers up to the largest in the training masks, all of
    which are then read at the start. Where images are resized, masks are too: the same part, and of
    each new pixel the nearest old one's class. A mask lies as its image is shown, EXIF applied.

    Args:
      location: the folder: absolute, relative to the current one, or with ~.
      data_config: reads test_fraction, validation, skip_corrupt, max_pixels, bit_depth, and
        image_size (0: every image must have the size of the first, which is checked when it is
        read).
      seed: not used.

    Raises:
      UserError: missing or empty folder, an image without a mask, or an unreadable first image
        without skip_corrupt. When it is read: a mask of another size than its image, of several
        channels, or with a number beyond the classes.
    """
    del seed
    root = pathlib.Path(location).expanduser()
    if not root.is_dir():
        raise UserError(f"config key 'data.source' expects a folder, found no '{root}'")
    parts = _find_parts(root, data_config)
    class_names = _class_names(root, parts["train"], data_config)
    image_shape = first_shape(root, [image for image, _ in parts["train"]], data_config)
    fields = masked_fields(image_shape)
    splits = {}
    for name, pairs in parts.items():
        paths = tuple((image.path, mask.path) for image, mask in pairs)
        # An absolute path, because a worker process may have another current folder.
        reader = _Reader(
            root.absolute(),
            paths,
            len(class_names),
            image_shape,
            data_config.image_size,
            data_config.max_pixels,
            data_config.bit_depth,
        )
        splits[name] = Split(name, len(paths), fields, reader)
    sizes = data_config.image_size, decoding(data_config)
    files = {
        name: Files(root.absolute(), [file for pair in pairs for file in pair])
        for name, pairs in parts.items()
    }
    return Source(
        name=f"masks:{location}",
        class_names=class_names,
        fingerprint=fingerprint("masks", key_of(files.values()), class_names, *sizes),
        files=files,
        **splits,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Reader:
    root: pathlib.Path
    paths: tuple[tuple[str, str], ...]  # image and mask
    num_classes: int
    image_shape: tuple[int, int, int]
    image_size: int | tuple[int, int]
    max_pixels: int
    bit_depth: int

    def __call__(self, index: int) -> Example:
        image_path, mask_path = (self.root / path for path in self.paths[index])
        image_HWC, mask_HW = (
            decode_image(image_path, max_pixels=self.max_pixels, bit_depth=self.bit_depth),
            decode_mask(mask_path, self.max_pixels),
        )
        if mask_HW.shape != image_HWC.shape[:2]:
            (height, width), (found_height, found_width) = image_HWC.shape[:2], mask_HW.shape
            raise UserError(
                f"{mask_path}: expected a mask of {height}x{width} pixels as its image, found "
                f"{found_height}x{found_width}: make the mask anew"
            )
        wrong_HW = (mask_HW >= self.num_classes) & (mask_HW != IGNORE)
        if wrong_HW.any():
            raise UserError(
                f"{mask_path}: expected classes 0 to {self.num_classes - 1} and {IGNORE} for what "
                f"is ignored, found {mask_HW[wrong_HW][0]}: mend the mask, or name more classes in "
                f"'{self.root / 'classes.txt'}'"
            )
        image_HWC = match_source(image_HWC, self.image_shape, self.image_size, str(image_path))
        height, width = self.image_shape[:2]
        return {"image": image_HWC, "mask": fit_map(mask_HW, height, width)}


def decode_mask(path: pathlib.Path, max_pixels: int) -> np.ndarray:
    """Returns mask_HW, uint8, the class numbers in a PNG of one channel or a palette.

    Raises:
      CorruptImageError: it is unreadable, or costs more than an image may.
      UserError: it is another kind of image, has several channels or more than 8 bits.
    """
    with opened(path, None, max_pixels) as (image, _):
        if image.format != "PNG":
            raise UserError(
                f"{path}: expected a mask as PNG, found {image.format}: another format may change "
                "class numbers"
            )
        mode, raw = image.mode, str(image.tile[0][3]) if image.tile else ""
        mask_HW = np.array(image, np.uint8) if mode in ("1", "L", "P") else None
    if mask_HW is None:
        raise UserError(
            f"{path}: expected a mask of one channel of 8 bits or a palette, found mode {mode}: "
            "save class numbers and not colours"
        )
    # Pillow stretches gray of 2 and 4 bits to 0..255.
    return mask_HW // {"L;2": 85, "L;4": 17}.get(raw, 1)


def _find_parts(root: pathlib.Path, data_config: Any) -> dict[str, list[_Pair]]:
    folders = subfolders(root)
    part_of = split_folders(folders)
    train, test, val = (part_of.get(part) for part in ("train", "test", "validation"))
    if train is None:
        others = [name for name in folders if name not in _PAIR]
        Layout("", None, None, others).used(root, data_config.validation)
        return _divide(root, data_config.test_fraction, data_config.skip_corrupt)
    if test is None and val is None:
        raise UserError(f"'{root}': expected 'test' or 'val' beside 'train', found neither; add it")
    others = [name for name in folders if name not in part_of.values()]
    layout = Layout(train, test or val, val if test else None, others)
    used = layout.used(root, data_config.validation)
    return {part: _pairs(root, folder, data_config.skip_corrupt) for part, folder in used.items()}


def _divide(root: pathlib.Path, test_fraction: float, skip_corrupt: bool) -> dict[str, list[_Pair]]:
    pairs = _pairs(root, "", skip_corrupt)
    train = [pair for pair in pairs if hash_of_path(pair[0].path) >= test_fraction]
    test = [pair for pair in pairs if hash_of_path(pair[0].path) < test_fraction]
    if not train or not test:
        raise UserError(
            f"'{root}': expected images in both splits, found {len(train)} to train on and "
            f"{len(test)} held out; change config key 'data.test_fraction' (now {test_fraction})"
        )
    return {"train": train, "test": test}


def _pairs(root: pathlib.Path, part: str, skip_unreadable: bool) -> list[_Pair]:
    """Returns the images of a part with their masks, sorted by path."""
    files: dict[str, dict[str, File]] = {}
    left_out: list[walk.LeftOut] = []
    for name in _PAIR:
        folder = root / part / name
        if not folder.is_dir():
            raise UserError(
                f"'{root / part}': expected folders 'images' and 'masks', found no '{name}'"
            )
        found = files_below(folder, IMAGES, skip_unreadable)
        prefix = f"{part}/{name}" if part else name
        files[name] = {f.path: f._replace(path=f"{prefix}/{f.path}") for f in found.files}
        left_out += [item._replace(path=f"{name}/{item.path}") for item in found.left_out]
    if not files["images"]:
        raise UserError(f"'{root / part / 'images'}': expected images, found none; add some")
    images, masks = (_by_stem(root, files[name]) for name in _PAIR)
    pairs = []
    for stem, image in images.items():
        if stem not in masks:
            raise UserError(
                f"{root / image.path}: expected a mask '{stem}.png' in "
                f"'{root / part / 'masks'}', found none; add it, or remove the image"
            )
        pairs.append((image, masks[stem]))
    for stem in sorted(masks.keys() - images.keys()):
        left_out.append(walk.LeftOut(f"masks/{stem}.png", "a mask without an image", False))
    if left_out:
        print(f"'{root / part}': left out {walk.describe(left_out)}", file=sys.stderr)
    return pairs


def _by_stem(root: pathlib.Path, files: dict[str, File]) -> dict[str, File]:
    """Returns the files by their paths without what follows the last dot, in the same order."""
    found: dict[str, File] = {}
    for path, file in files.items():
        other = found.setdefault(str(pathlib.PurePosixPath(path).with_suffix("")), file)
        if other is not file:
            raise UserError(
                f"'{root}': expected files of different names for each image and mask, found "
                f"'{other.path}' and '{file.path}'; remove or rename one"
            )
    return found


def _class_names(root: pathlib.Path, train: list[_Pair], data_config: Any) -> tuple[str, ...]:
    file = root / "classes.txt"
    if file.is_file():
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"'{file}': expected names in UTF-8, one a line, found {error}: save it anew"
            ) from error
        names = tuple(composed(line.strip()) for line in lines if line.strip())
        if len(names) < 2 or len(set(names)) < len(names) or len(names) > IGNORE:
            raise UserError(
                f"'{file}': expected 2 to {IGNORE} different names, one a line, found "
                f"{len(names)}, of which {len(set(names))} are different"
            )
        return names
    count_K = np.zeros(IGNORE + 1, np.int64)
    for _, mask in train:
        try:
            mask_HW = decode_mask(root / mask.path, data_config.max_pixels)
        except CorruptImageError:
            if not data_config.skip_corrupt:
                raise
            continue
        count_K += np.bincount(mask_HW.ravel(), minlength=IGNORE + 1)
    present = {1, *np.flatnonzero(count_K[:IGNORE]).tolist()}
    if missing := set(range(max(present))) - present - {0}:
        print(
            f"'{root}': the classes are the numbers 0 to {max(present)}, and no training mask has "
            f"{min(missing)}{f' or {len(missing) - 1} others' if len(missing) > 1 else ''}; if "
            f"{max(present)} is a mistake, name the classes in 'classes.txt'",
            file=sys.stderr,
        )
    return tuple(map(str, range(max(present) + 1)))
