"""The sources of examples, by the name that config key `data.source` begins with."""

import os
from collections.abc import Callable
from typing import Any

from crnn_jax.data import (
    csv_file,
    digit_scenes,
    digits,
    folder,
    mask_folder,
    moving_digits,
    tfds_source,
    video_folder,
)
from crnn_jax.data.splits import Source
from crnn_jax.errors import UserError, closest

# Name: load(location, config.data, seed) -> Source.
SOURCES: dict[str, Callable[[str, Any, int], Source]] = {
    "digits": digits.load,
    "moving_digits": moving_digits.load,
    "digit_scenes": digit_scenes.load,
    "tfds": tfds_source.load,
    "folder": folder.load,
    "csv": csv_file.load,
    "video": video_folder.load,
    "masks": mask_folder.load,
}
PATHS = ("folder", "csv", "video", "masks")  # those whose location is a path
EMBEDDED = ("digits", "moving_digits", "digit_scenes")  # those without a location


def load_source(data_config: Any, seed: int) -> Source:
    """Returns the source that config key `data.source` names.

    Args:
      data_config: the `data` part of a config.
      seed: chooses the test split of what is embedded; folders and TFDS do not depend on it.

    Raises:
      UserError: unknown source, missing data, or data that does not fit the config.
    """
    kind, _, location = data_config.source.partition(":")
    if kind in SOURCES and kind not in EMBEDDED and not location:
        raise UserError(
            f"config key 'data.source' expects {kind}:{'PATH' if kind in PATHS else 'NAME'}, found "
            f"'{data_config.source}'"
        )
    if kind not in SOURCES or (kind in EMBEDDED and location):
        rest = location or data_config.source
        is_folder = os.path.isdir(os.path.expanduser(rest))
        kinds = [name for name in SOURCES if name not in EMBEDDED]
        forms = [*EMBEDDED, *(f"{k}:{'NAME' if k == 'tfds' else 'PATH'}" for k in kinds)]
        if is_folder:
            valid = [f"{k}:{rest}" for k in (PATHS if location else PATHS[:1])]
        elif os.path.isfile(os.path.expanduser(rest)):
            valid = [f"csv:{rest}"]
        else:
            valid = [*EMBEDDED, *(f"{k}:{rest}" for k in kinds if location or k == "tfds")]
        raise UserError(
            f"config key 'data.source' expects {', '.join(forms[:-1])} or {forms[-1]}, "
            f"found '{data_config.source}'{closest(data_config.source, valid)}"
        )
    if kind in EMBEDDED and not isinstance(data_config.image_size, int):
        raise UserError(
            f"config key 'data.image_size' expects one number for '{kind}', whose images are "
            f"square, found {data_config.image_size}"
        )
    return SOURCES[kind](location, data_config, seed)
