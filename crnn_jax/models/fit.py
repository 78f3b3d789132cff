"""Checks sizes of a model against the shape of its input: what is larger than it means nothing."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from crnn_jax.errors import UserError


def check_fit(model_config: ConfigDict, input_shape: Sequence[int]) -> None:
    """Checks that the patches, bands and segments of a model lie in its input.

    Args:
      model_config: `config.model`, validated.
      input_shape: (H, W, C), or (F, H, W, C) of a clip, which is not cut into bands.

    Raises:
      UserError: names the key, and the least or the largest value that fits.
    """
    height, width = input_shape[-3:-1]
    side, is_image = min(height, width), len(input_shape) == 3
    largest = {"whiten_size": side}
    if model_config.name == "rnn" and model_config.tokens == "patches":
        largest["patch_size"] = side
    if is_image:
        largest |= {"num_frames": height, "num_segments": height}
    for name, most in largest.items():
        if name in model_config and model_config[name] > most:
            raise _misfit(name, f"at most {most}", model_config[name], input_shape)
    if "patch_sizes" in model_config:
        _check_patches(model_config, input_shape)
    for name in ("frame_height", "snippet_height"):
        if is_image and name in model_config and model_config[name] * height < 1:
            raise _misfit(name, f"at least {1 / height:.4g}", model_config[name], input_shape)


def _check_patches(model_config: ConfigDict, input_shape: Sequence[int]) -> None:
    """Checks that each layer's patches lie in the grid that it reads, which is padded to them."""
    grid = input_shape[-3:-1]
    most = min(grid)
    if model_config.name == "reseg":  # its first patches are of the trunk's last map
        grid = _cut(grid, 2 ** len(model_config.stage_multipliers))
        most = max(grid)
    for number, size in enumerate(model_config.patch_sizes, start=1):
        if size > most:
            expected = f"at most {most} as number {number}"
            raise _misfit("patch_sizes", expected, model_config.patch_sizes, input_shape)
        grid = _cut(grid, size)
        most = max(grid)


def _cut(sides: Sequence[int], size: int) -> tuple[int, ...]:
    return tuple(-(-side // size) for side in sides)


def _misfit(name: str, expected: str, found: object, input_shape: Sequence[int]) -> UserError:
    shape = " x ".join(map(str, input_shape))
    return UserError(
        f"config key 'model.{name}' expects {expected} for inputs of {shape}, found {found}"
    )
