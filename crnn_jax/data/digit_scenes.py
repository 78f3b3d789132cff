"""Scenes of several handwritten digits among clutter, with the class of every pixel; no download.

The digits are those of `digits`. What is around them is made of the same ink: strokes, and cut
pieces of other digits, so that a pixel's class follows from the whole shape that it is part of.
"""

import dataclasses
import hashlib
from typing import Any

import numpy as np
from PIL import Image

from crnn_jax.data.digits import choose_test, read_digits
from crnn_jax.data.fields import IGNORE, Example
from crnn_jax.data.splits import Source, Split, fingerprint, masked_fields
from crnn_jax.errors import UserError

CLASS_NAMES = ("background", *"0123456789")
NUM_TRAIN, NUM_TEST = 4000, 1000
_RECIPE = 1  # raise it when scenes change: cached ones are then made again
_SIDE = 32
_DIGITS, _FRAGMENTS, _STROKES = (2, 4), (2, 5), (1, 3)  # how many, both included
_SIDES = (12, 16)  # a digit's, pixels: 1.5 to 2 times as stored
_INK = (0.55, 1.0)  # brightness of digits and clutter alike
_GROUND = 0.3  # the background's brightest
_NOISE = 0.08  # the largest change of a pixel
_CORE, _EDGE = 0.5, 0.2  # how much ink makes a digit's pixel, and an ambiguous one
_TRIES = 30  # places of a digit, of which the freest is taken
_TAGS = {"train": 3, "test": 4}  # keep the scenes' random numbers apart from others of the seed


def load(location: str, data_config: Any, seed: int) -> Source:
    """Returns scenes, gray (32, 32, 1), and masks (32, 32): class 0 background, d + 1 the digit d.

    Two to four digits of 12 to 16 pixels stand on a graded, noisy ground, in front of strokes and
    of quarters of other digits as bright as they are, which count as background. A pixel with
    at least half a digit's ink is the digit's; one with a fifth to a half is `IGNORE`, since its
    class is a matter of taste. A digit may cover a part of an earlier one.

    Training and test scenes show disjoint digits: those of the splits of `digits`. A scene is a
    function of (seed, split, number). A validation part of the training scenes shows digits that
    other training scenes show too, so its score lies above that of the test split.

    Args:
      location: empty.
      data_config: reads test_fraction (of the digits) and image_size (side of a scene, at least 16;
        0: 32).
      seed: chooses the digits of the test scenes, and all scenes.

    Raises:
      UserError: test_fraction leaves one of the splits no digit, or scenes smaller than a digit.
    """
    del location
    image_NHWC, labels_N = read_digits()
    is_test_N = choose_test(labels_N, data_config.test_fraction, seed)
    side = data_config.image_size or _SIDE
    if side < _SIDES[1]:
        raise UserError(
            f"config key 'data.image_size' expects at least {_SIDES[1]} for 'digit_scenes', whose "
            f"digits are up to that many pixels high, found {side}"
        )
    splits = []
    for name, count, chosen_N in (("train", NUM_TRAIN, ~is_test_N), ("test", NUM_TEST, is_test_N)):
        reader = SceneReader(image_NHWC[chosen_N, :, :, 0], labels_N[chosen_N], seed, name, side)
        splits.append(Split(name, count, masked_fields((side, side, 1)), reader))
    data_hash = hashlib.sha256(image_NHWC.tobytes() + labels_N.tobytes()).hexdigest()
    counts = (NUM_TRAIN, NUM_TEST, int(np.sum(is_test_N)))
    return Source(
        name="digit_scenes",
        class_names=CLASS_NAMES,
        train=splits[0],
        test=splits[1],
        fingerprint=fingerprint("digit_scenes", _RECIPE, data_hash, side, counts, seed),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class SceneReader:
    """Makes the scenes of one split.

    Attributes:
      digit_NHW: uint8, of the split alone.
      labels_N: 0..9.
      seed: the run's.
      part: "train" or "test".
      side: height and width of a scene, pixels.
    """

    digit_NHW: np.ndarray
    labels_N: np.ndarray
    seed: int
    part: str
    side: int

    def __call__(self, index: int) -> Example:
        """Returns the scene `index`: "image" and "mask"."""
        draws = _Draws(self.seed, _TAGS[self.part], index)
        rise = [draws.real(-1, 1), draws.real(-1, 1)]
        row_H, column_W = np.linspace(0, rise[0], self.side), np.linspace(0, rise[1], self.side)
        ground_HW = row_H[:, None] + column_W
        ground_HW -= ground_HW.min()
        canvas_HW = ground_HW * (draws.real(0, _GROUND) / max(1.0, ground_HW.max()))
        for _ in range(draws.whole(*_STROKES)):
            _blend(canvas_HW, _stroke(draws, self.side), draws.real(*_INK), 0, 0)
        for _ in range(draws.whole(*_FRAGMENTS)):
            ink_HW, _ = self._digit(draws)
            half = len(ink_HW) // 2
            top, left = draws.whole(0, half), draws.whole(0, half)
            piece_HW = ink_HW[top : top + half, left : left + half]
            top, left = (draws.whole(0, self.side - half) for _ in range(2))
            _blend(canvas_HW, piece_HW, draws.real(*_INK), top, left)
        mask_HW = self._add_digits(canvas_HW, draws)
        canvas_HW += _NOISE * (2 * draws.reals(canvas_HW.size).reshape(canvas_HW.shape) - 1)
        image_HW = np.round(255 * np.clip(canvas_HW, 0, 1)).astype(np.uint8)
        return {"image": image_HW[:, :, None], "mask": mask_HW}

    def _add_digits(self, canvas_HW: np.ndarray, draws: "_Draws") -> np.ndarray:
        """Writes whole digits on the canvas and returns the mask."""
        mask_HW = np.zeros(canvas_HW.shape, np.uint8)
        taken_HW = np.zeros(canvas_HW.shape, bool)
        for _ in range(draws.whole(*_DIGITS)):
            ink_HW, label = self._digit(draws)
            size = len(ink_HW)
            room = self.side - size
            places = [(draws.whole(0, room), draws.whole(0, room)) for _ in range(_TRIES)]
            top, left = min(places, key=lambda at: taken_HW[_window(at[0], at[1], size)].sum())
            _blend(canvas_HW, ink_HW, draws.real(*_INK), top, left)
            window = _window(top, left, size)
            taken_HW[window] = True
            edge_HW = np.where(ink_HW >= _EDGE, np.uint8(IGNORE), mask_HW[window])
            mask_HW[window] = np.where(ink_HW >= _CORE, np.uint8(label + 1), edge_HW)
        return mask_HW

    def _digit(self, draws: "_Draws") -> tuple[np.ndarray, int]:
        """Returns (ink_HW in 0..1 of a random digit at a random size, its label)."""
        index, size = draws.whole(0, len(self.labels_N) - 1), draws.whole(*_SIDES)
        digit = Image.fromarray(self.digit_NHW[index]).resize(
            (size, size), Image.Resampling.BILINEAR
        )
        return np.asarray(digit) / 255, int(self.labels_N[index])


class _Draws:
    """Random numbers of a bit generator, whose stream no version of NumPy changes."""

    def __init__(self, *entropy: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(entropy))

    def reals(self, count: int) -> np.ndarray:
        """Returns `count` numbers in [0, 1)."""
        return (self._bits.random_raw(count) >> np.uint64(11)) * 2.0**-53

    def real(self, low: float, high: float) -> float:
        """Returns a number in [low, high)."""
        return low + (high - low) * float(self.reals(1)[0])

    def whole(self, low: int, high: int) -> int:
        """Returns a whole number from `low` to `high`, both included."""
        return low + int(self.reals(1)[0] * (high - low + 1))


def _window(top: int, left: int, size: int) -> tuple[slice, slice]:
    return slice(top, top + size), slice(left, left + size)


def _blend(canvas_HW: np.ndarray, ink_HW: np.ndarray, bright: float, top: int, left: int) -> None:
    height, width = ink_HW.shape
    part = canvas_HW[top : top + height, left : left + width]
    part += ink_HW * (bright - part)


def _stroke(draws: _Draws, side: int) -> np.ndarray:
    """Returns the ink of a straight line, one to two pixels wide and 4 to 10 long."""
    row, column = draws.real(0, side), draws.real(0, side)
    angle, length, width = draws.real(0, np.pi), draws.real(4, 10), draws.real(1, 2)
    row_H1, column_W = np.arange(side)[:, None] - row, np.arange(side) - column
    along = np.clip(row_H1 * np.sin(angle) + column_W * np.cos(angle), 0, length)
    distance = np.hypot(row_H1 - along * np.sin(angle), column_W - along * np.cos(angle))
    return np.clip(width / 2 + 0.5 - distance, 0, 1)
