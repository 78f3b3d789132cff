"""The class of a clip of moving digits is in the order of its frames, and nowhere else."""

import copy
import pickle

import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.config import default_config
from crnn_jax.data import moving_digits, transforms
from crnn_jax.data.digits import read_digits
from crnn_jax.data.sources import load_source
from crnn_jax.errors import UserError

K = len(moving_digits.MOTIONS)


def load(seed=0, **changes):
    config = copy.deepcopy(default_config("crnn").data)
    for key, value in {"source": "moving_digits", **changes}.items():
        config[key] = value
    return load_source(config, seed)


def clips(split, count=None):
    examples = [split.read(i) for i in range(count or len(split))]
    return np.stack([e["clip"] for e in examples]), np.array([e["label"] for e in examples])


def positions(clip_NFHWC):
    """Returns (N, F, 2): where on the torus the frames' mass lies, in pixels (circular mean)."""
    angle = 2 * np.pi * np.arange(16) / 16
    mass = clip_NFHWC[..., 0].astype(np.float64)
    rows, columns = (np.angle((m * np.exp(1j * angle)).sum(-1)) for m in (mass.sum(3), mass.sum(2)))
    return np.stack([rows, columns], -1) * 16 / (2 * np.pi)


def test_a_mirror_and_a_reflected_border_show_another_motion():
    source = load()
    assert source.handed
    clip_FHWC = source.train.read(0)["clip"]
    (whole,) = positions(clip_FHWC[None])
    for mirrored_FHWC in (clip_FHWC[:, :, ::-1], moved(clip_FHWC, rows=15)):
        assert turn(whole) * turn(positions(mirrored_FHWC[None])[0]) < 0
    assert turn(whole) * turn(positions(moved(clip_FHWC, rows=1)[None])[0]) > 0
    assert not load_source(default_config("crnn").data, 0).handed


def moved(clip_FHWC, rows):
    """Returns the clip as `data.crop_padding` shows it, so many rows lower."""
    placement = transforms.Placement(jnp.array([[rows, 0]]), None)
    (found_FHWC,) = transforms.move(jnp.asarray(clip_FHWC[None]), "pixels", placement, (16, 16))
    return np.asarray(found_FHWC)


def turn(position_F2):
    """Returns a sum whose sign is the direction of a closed path on the torus."""
    step_F2 = (np.roll(position_F2, -1, axis=0) - position_F2 + 8) % 16 - 8
    after_F2 = np.roll(step_F2, -1, axis=0)
    return float(np.sum(step_F2[:, 0] * after_F2[:, 1] - step_F2[:, 1] * after_F2[:, 0]))


def test_facts():
    source = load()
    assert source.class_names == tuple(moving_digits.MOTIONS)
    assert source.input_shape == (8, 16, 16, 1)
    assert (len(source.train), len(source.test)) == (4 * 1437, 4 * 360)
    example = source.test.read(7)
    assert example["clip"].dtype == np.uint8
    assert source.test.group_N is not None
    assert source.train.group_N is not None
    assert (example["label"], source.test.group_N[7]) == (3, 3)
    assert np.bincount(source.train.group_N).tolist() == [1437] * 4


def test_the_four_clips_of_a_digit_have_the_same_frames_in_another_order():
    clip_NFHWC, label_N = clips(load().test, 40 * K)
    for of_digit, labels in zip(
        clip_NFHWC.reshape(40, K, 8, -1), label_N.reshape(40, K), strict=True
    ):
        assert labels.tolist() == list(range(K))
        frames = [sorted(frame.tobytes() for frame in clip) for clip in of_digit]
        assert frames[1:] == frames[:-1]
        assert len({clip.tobytes() for clip in of_digit}) == K
        assert len(set(frames[0])) == 8


def test_each_frame_is_at_a_uniform_position_whatever_the_class():
    middles = moving_digits._draw_starts(20_000, 0)
    place = np.array(list(moving_digits.MOTIONS.values()))[:, None] * np.arange(8)
    place_NKF = (middles[:, 2, None, None] + place) % 8
    position_NKF2 = (moving_digits.CIRCLE[place_NKF] + middles[:, None, None, :2]) % 16
    cell_NKF = position_NKF2[..., 0] * 16 + position_NKF2[..., 1]
    expected = 20_000 / 256
    for k in range(K):
        for f in range(8):
            count = np.bincount(cell_NKF[:, k, f], minlength=256)
            chi2 = np.sum((count - expected) ** 2 / expected)
            assert 255 - 6 * np.sqrt(510) < chi2 < 255 + 6 * np.sqrt(510)


def test_order_tells_the_class():
    clip_NFHWC, label_N = clips(load().test, 400)
    moved = (np.diff(positions(clip_NFHWC), axis=1) + 8) % 16 - 8
    first, second = moved[:, :-1], moved[:, 1:]
    turn_N = (first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]).mean(1)
    speed_N = np.abs(moved).sum(-1).mean(1)
    steps = np.array(list(moving_digits.MOTIONS.values()))[label_N]
    assert np.mean((turn_N < 0) == (steps > 0)) > 0.99  # rows grow down
    assert speed_N[np.abs(steps) == 3].min() > speed_N[np.abs(steps) == 1].max()


def test_clockwise_is_clockwise():
    clip_FHWC = moving_digits.make_clip(np.full((1, 1, 1), 255, np.uint8), (8, 8), 0, 1)
    seen = [tuple(int(x[0]) for x in np.nonzero(frame[..., 0])) for frame in clip_FHWC]
    assert seen[:5] == [(4, 8), (5, 11), (8, 12), (11, 11), (12, 8)]


def test_a_digit_leaves_on_one_side_and_enters_on_the_other():
    clip_FHWC = moving_digits.make_clip(np.full((8, 8, 1), 255, np.uint8), (0, 0), 0, 1)
    assert clip_FHWC.astype(bool).sum((1, 2, 3)).tolist() == [64] * 8


def test_no_digit_is_in_both_splits():
    source = load()
    rows = {image.tobytes() for image in read_digits()[0]}
    split_digits = []
    for split in (source.train, source.test):
        starts = split.read.start_N3
        assert len(starts) == len(split) // K
        split_digits.append({image.tobytes() for image in split.read.image_NHWC})
    assert split_digits[0] | split_digits[1] == rows
    assert len(split_digits[0] & split_digits[1]) == 0


def test_seed_sets_starts_and_split():
    base, again, other = load(), load(), load(seed=1)
    assert base.fingerprint == again.fingerprint != other.fingerprint
    np.testing.assert_array_equal(clips(base.test, 8)[0], clips(again.test, 8)[0])
    assert (clips(base.test, 8)[0] != clips(other.test, 8)[0]).any()


def test_image_size():
    source = load(image_size=24)
    assert source.input_shape == source.train.read(0)["clip"].shape == (8, 24, 24, 1)
    assert source.fingerprint != load().fingerprint


def test_another_number_of_frames_is_an_error():
    with pytest.raises(UserError, match=r"'data.num_frames' expects 8.*found 5"):
        load(num_frames=5)


def test_splits_can_be_pickled():
    split = load().test
    copied = pickle.loads(pickle.dumps(split))
    np.testing.assert_array_equal(copied.read(5)["clip"], split.read(5)["clip"])
