"""Sources of which a mirrored example is of another class: what may not be done to their pixels."""

from typing import Any

from crnn_jax.data.splits import Source
from crnn_jax.errors import UserError


def check_augmentation(source: Source, data_config: Any) -> None:
    """Checks that no augmentation of the training makes an example one of another class.

    Raises:
      UserError: a mirror; or a translation that may show more of the reflected border, where
        examples are mirrored, than of themselves.
    """
    if not source.handed:
        return
    if data_config.flip != "none":
        raise UserError(
            f"config key 'data.flip' expects none for '{source.name}', of which a mirrored example "
            f"is of another class, found '{data_config.flip}': set it to none"
        )
    most = min(source.input_shape[-3:-1]) // 2
    if data_config.crop_padding > most:
        raise UserError(
            f"config key 'data.crop_padding' expects at most {most} for '{source.name}', of which "
            "a mirrored example is of another class, as the reflected border is, found "
            f"{data_config.crop_padding}: set it to 0"
        )


def check_views(source: Source, tta: str) -> None:
    """Checks that test-time augmentation shows a model no example of another class.

    Raises:
      UserError: it does; each kind of it has mirrored views.
    """
    if source.handed and tta != "none":
        raise UserError(
            f"test-time augmentation expects none for '{source.name}', of which a mirrored example "
            f"is of another class, found '{tta}': change 'eval.tta' or --tta"
        )
