"""Which arrays of a model are trained: trees of the rest, and BatchNorm that keeps its statistics.

Arrays are named by their paths in "params" or "batch_stats", "trunk/norm_0_0/scale", which the two
do not share; a trained part of a tree is a tree of its own, without the frozen leaves. So nothing
is differentiated, kept or averaged for them.
"""

import contextlib
import fnmatch
from collections.abc import Iterator, Sequence
from typing import Any

from flax import linen as nn

from crnn_jax.models.normalization import BatchNorm

Tree = Any


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Returns whether a pattern of `fnmatch` matches the name; `*` matches a slash too."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def without(tree: Tree, patterns: Sequence[str], above: str = "") -> Tree:
    """Returns the tree without the leaves that a pattern matches, and without what that empties.

    Args:
      tree: nested dicts, "params" or "batch_stats" of a model.
      patterns: for names that are left out; none: the tree itself.
      above: the tree's own name, with a slash.
    """
    if not patterns:
        return tree
    kept = {}
    for key, value in tree.items():
        name = f"{above}{key}"
        if not isinstance(value, dict):
            if not matches(name, patterns):
                kept[key] = value
        elif part := without(value, patterns, f"{name}/"):
            kept[key] = part
    return kept


def select(tree: Tree, like: Tree) -> Tree:
    """Returns the part of nested dicts that `like`, a part of them, has too."""
    if not isinstance(like, dict):
        return tree
    return {key: select(tree[key], value) for key, value in like.items()}


def overlay(tree: Tree, part: Tree) -> Tree:
    """Returns nested dicts with the leaves of `part` in the place of their own."""
    if not isinstance(part, dict):
        return part
    return {key: overlay(value, part[key]) if key in part else value for key, value in tree.items()}


@contextlib.contextmanager
def keeping_statistics(patterns: Sequence[str]) -> Iterator[None]:
    """BatchNorm whose mean or variance a pattern matches reads its running statistics in the block.

    It leaves them as they are, as in an evaluation.
    """
    if not patterns:
        yield
        return

    def call(next_call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, BatchNorm) and context.method_name == "__call__":
            path = "/".join(context.module.path)
            if matches(f"{path}/mean", patterns) or matches(f"{path}/var", patterns):
                kwargs = {**kwargs, "train": False}
        return next_call(*args, **kwargs)

    with nn.intercept_methods(call):
        yield
