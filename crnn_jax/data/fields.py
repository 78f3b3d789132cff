"""What an example consists of: named arrays, whose kind says how they move when it is augmented."""

from typing import Any, Literal, NamedTuple

import numpy as np

IGNORE = 255  # in a map of classes: a pixel that is neither trained on nor counted

Example = dict[str, np.ndarray]  # field name -> array


class Field(NamedTuple):
    """One field of every example of a split; static.

    Attributes:
      shape: without the axis of examples.
      dtype: numpy's.
      kind: "pixels" (H, W, C), or (F, H, W, C) for a clip; "map" (H, W), a value a pixel; "boxes"
        (M, 4), top, left, bottom, right in pixels, absent ones all zero; "value", which stays as it
        is wherever pixels move.
    """

    shape: tuple[int, ...]
    dtype: Any
    kind: Literal["pixels", "map", "boxes", "value"]


Fields = dict[str, Field]


def pixels_of(fields: Fields) -> str:
    """Returns the name of the one field that the model reads."""
    (name,) = (name for name, field in fields.items() if field.kind == "pixels")
    return name
