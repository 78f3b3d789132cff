"""How evenly the classes of a split come."""

from collections.abc import Sequence

import numpy as np

from crnn_jax.data.splits import Split

LARGEST_RATIO = 10


def warning(split: Split, class_names: Sequence[str], *, is_balanced: bool) -> str | None:
    """Returns a line on classes that a training will not learn well; None where there are none.

    Classes that are not known without reading the examples are not looked at.

    Args:
      split: that is trained on.
      class_names: K, in the order of their numbers.
      is_balanced: whether the training makes up for a ratio.
    """
    if split.group_N is None:
        return None
    count_K = np.bincount(split.group_N[split.group_N >= 0], minlength=len(class_names))
    if np.count_nonzero(count_K) == 1:
        name = class_names[int(count_K.argmax())]
        return f"every training example is of class '{name}': there is nothing to tell apart"
    most, least = int(count_K.argmax()), int(count_K.argmin())
    if is_balanced or count_K[most] <= LARGEST_RATIO * count_K[least]:
        return None
    return (
        f"class '{class_names[most]}' has {count_K[most]} training examples, "
        f"'{class_names[least]}' {count_K[least]}: data.sampling=balanced shows each class as "
        "often, optim.class_weights=balanced weighs their losses"
    )
