"""What a run keeps of the data that it was trained on, and how other data differs from it."""

import pathlib
from collections.abc import Mapping
from typing import Any

from crnn_jax.data import statistics
from crnn_jax.data.content import digest_of
from crnn_jax.data.splits import Source, Split

_SHOWN = 3  # names of classes


def describe(source: Source, num_train: int, cache_dir: pathlib.Path) -> dict[str, Any]:
    """Returns the content of dataset.json.

    Its keys are input_shape, class_names, num_train (after the validation part) and splits: of each
    split of the source num_examples and content, 16 hex digits that follow the files when they are
    moved or copied. They are kept in CACHE_DIR/statistics. Where a list says of each example what
    its class and its weight are, `listed` has 16 digits of that.

    Raises:
      UserError: the cache cannot be written.
    """
    splits = {"train": source.train, "test": source.test, "validation": source.validation}
    return {
        "input_shape": list(source.input_shape),
        "class_names": list(source.class_names),
        "num_train": num_train,
        "splits": {
            name: {
                "num_examples": split.num_examples,
                "content": _content(source, name, split, cache_dir),
                **({"listed": source.listed[name]} if name in source.listed else {}),
            }
            for name, split in splits.items()
            if split is not None
        },
    }


def _content(source: Source, name: str, split: Split, cache_dir: pathlib.Path) -> str:
    if name not in source.files:
        return source.fingerprint  # data in memory is all in it
    path = statistics.path_of(cache_dir, source.fingerprint, split, "-content")
    files = source.files[name]
    return statistics.remembered(path, lambda: {"digest": digest_of(files)})["digest"]


def differences(
    trained: Mapping[str, Any], found: Mapping[str, Any], *, contents: bool = True
) -> list[str]:
    """Returns phrases such as "class 'cat' is missing" on what `found` has other than `trained`.

    Args:
      trained: a dataset.json; what it lacks, as older versions did not write it, is the same.
      found: as from `describe`.
      contents: whether contents are compared, beside classes, shape and numbers.
    """
    old, new = list(trained["class_names"]), found["class_names"]
    parts = _classes(old, new)
    if list(trained["input_shape"]) != found["input_shape"]:
        shapes = ["x".join(map(str, d["input_shape"])) for d in (trained, found)]
        parts.append(f"the shape is {shapes[1]}, in training it was {shapes[0]}")
    if not _are_splits(trained.get("splits")):
        if trained["num_train"] != found["num_train"]:
            parts.append(
                f"there are {found['num_train']} examples to train on, in training there were "
                f"{trained['num_train']}"
            )
        return parts
    for name in [*trained["splits"], *(found["splits"].keys() - trained["splits"].keys())]:
        pair = trained["splits"].get(name), found["splits"].get(name)
        parts += _split(name, *pair, contents)
    return parts


def _are_splits(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(split, dict) and {"num_examples", "content"} <= split.keys()
        for split in value.values()
    )


def _classes(old: list[str], new: list[str]) -> list[str]:
    parts = []
    for names, verb in (
        ([name for name in old if name not in set(new)], "missing"),
        ([name for name in new if name not in set(old)], "new"),
    ):
        if names:
            noun = "class" if len(names) == 1 else f"{len(names)} classes"
            shown = ", ".join(f"'{name}'" for name in names[:_SHOWN])
            more = ", ..." if len(names) > _SHOWN else ""
            parts.append(f"{noun} {shown}{more} {'is' if len(names) == 1 else 'are'} {verb}")
    if not parts and old != new:
        parts.append("the classes are in another order")
    return parts


def _split(
    name: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, contents: bool
) -> list[str]:
    if old is None or new is None:
        return [f"a {name} split is {'missing' if new is None else 'new'}"]
    if old["num_examples"] != new["num_examples"]:
        counts = f"{new['num_examples']} examples, in training it had {old['num_examples']}"
        return [f"the {name} split has {counts}"]
    if contents and old["content"] != new["content"]:
        return [f"the {name} split has other contents or file names"]
    # Runs of older versions have no `listed`.
    if contents and old.get("listed", new.get("listed")) != new.get("listed"):
        return [f"the {name} split has other classes or weights for its files"]
    return []
