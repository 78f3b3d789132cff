"""What a new run begins with: weights of another run, by the keys of section `init`."""

import dataclasses
import math
import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from crnn_jax.checksums import named_leaves
from crnn_jax.config import SHAPELESS_KEYS, flatten
from crnn_jax.distributed import is_first, say
from crnn_jax.errors import UserError, closest
from crnn_jax.train.experiment import Experiment
from crnn_jax.train.frozen import matches, without
from crnn_jax.train.state import TrainState
from crnn_jax.weights import Arrays, Weights, load_weights
from crnn_jax.writers import plain, write_json_atomically

_SHOWN = 6  # names or groups of names on a line of the table
_DIFFERENT = 3  # keys that a line names
_NORM = "norm/"
# What becomes of an array of the model, in the order of the table.
STATES = ("loaded", "mismatched", "skipped", "absent", "unused")


@dataclasses.dataclass(frozen=True)
class Start:
    """What the arrays of a new run begin with.

    Attributes:
      experiment: the run's.
      source: what is known of the weights' run (`Weights.metadata`); {} for none.
      loaded: the arrays that are taken from it, by name; those of "norm/" are `TrainState.norm`.
      table: {name: {"state": of `STATES`, "frozen", "shape", "there": the shape in the source}}.
    """

    experiment: Experiment
    source: dict[str, Any]
    loaded: Arrays
    table: dict[str, dict[str, Any]]


def read_start(experiment: Experiment, class_names: tuple[str, ...]) -> Start:
    """Returns what the run begins with; nothing of it is read again when a run is resumed.

    Pixels are normalised as the loaded weights know them: "norm/mean_C", "norm/std_C" and the
    whitening kernel come along, unless `init.skip` names them; with another kernel, which is of
    the data's own pixels, so is the norm.

    Args:
      experiment: the run's.
      class_names: those of its data.

    Raises:
      UserError: no weights there, none that fit, a pattern without a match, nothing to train, or a
        frozen array that the source does not have.
    """
    init = experiment.config.init
    if not (init["from"] or init.freeze):
        return Start(experiment, {}, {}, {})
    state = experiment.abstract_state()
    arrays = {**named_leaves(state.params), **named_leaves(state.batch_stats)}
    norm = {f"{_NORM}{name}": leaf for name, leaf in state.norm.items()}
    _check_patterns("init.skip", init.skip, [*arrays, *norm])
    _check_patterns("init.freeze", init.freeze, list(arrays))
    if not without(state.params, init.freeze):
        raise UserError(
            f"config key 'init.freeze' expects patterns that leave something to train, found "
            f"{', '.join(init.freeze)}, which match every parameter"
        )
    table = {name: _entry(leaf, matches(name, init.freeze)) for name, leaf in arrays.items()}
    if not init["from"]:
        return Start(experiment, {}, {}, table)
    try:
        weights = load_weights(init["from"])
    except UserError as error:
        raise UserError(f"config key 'init.from': {error}") from None
    table |= {name: _entry(leaf, False) for name, leaf in norm.items()}
    found = _compare(table, weights, init.skip)
    # Biases alone may fit by chance: as many classes have a bias of the same shape.
    if not any(len(array.shape) > 1 and name in weights.params for name, array in found.items()):
        raise UserError(_nothing_fits(experiment, weights, table))
    _check_frozen(table)
    return Start(experiment, {**weights.metadata, "here": class_names}, found, table)


def begin(start: Start, norm: dict[str, Any], workdir: pathlib.Path) -> TrainState:
    """Returns the state at step 0; prints the table and writes it to init.json, if there is one.

    Args:
      start: what `read_start` returns.
      norm: what `Dataset.norm` returns.
      workdir: folder of the run.
    """
    if start.table:
        say("\n".join(describe(start)))
        if is_first():
            source = {k: v for k, v in start.source.items() if k not in ("norm", "here")}
            write_json_atomically(workdir / "init.json", {**source, "arrays": start.table})
    return first_state(start, norm)


def first_state(start: Start, norm: dict[str, Any]) -> TrainState:
    """Returns the state at step 0, without a word; the arguments are those of `begin`."""
    state = start.experiment.init_state(norm)
    return with_arrays(start.experiment, state, start.loaded) if start.loaded else state


def with_arrays(experiment: Experiment, state: TrainState, loaded: Arrays) -> TrainState:
    """Returns the state at step 0 with the arrays `loaded`, by name, and its optimizer's anew."""

    def replaced(tree: Any, loaded: Arrays, prefix: str = "") -> Any:
        def of_leaf(path: Any, leaf: jax.Array) -> jax.Array:
            name = prefix + jax.tree_util.keystr(path, simple=True, separator="/")
            # A copy: the state is donated to the step, and must not be memory of the host's.
            return jnp.copy(loaded[name]) if name in loaded else leaf

        return jax.tree_util.tree_map_with_path(of_leaf, tree)

    def change(state: TrainState, loaded: Arrays) -> TrainState:
        params = replaced(state.params, loaded)
        return dataclasses.replace(
            state,
            norm=replaced(state.norm, loaded, _NORM),
            params=params,
            batch_stats=replaced(state.batch_stats, loaded),
            # Some optimizers keep a copy of the weights.
            opt_state=experiment.optimizer.init(without(params, experiment.config.init.freeze)),
        )

    shardings = jax.tree.map(lambda leaf: leaf.sharding, experiment.abstract_state())
    return jax.jit(change, out_shardings=shardings)(state, loaded)


def describe(start: Start) -> list[str]:
    """Returns the lines of the table: how many arrays and parameters of each state, and which."""
    lines = ["without weights of another run (init.from)"]
    if source := start.source:
        at = "" if source["step"] is None else f", step {source['step']}, {source['weights']}"
        lines = [f"weights of {source['source']}{at}"]
    for state in STATES:
        names = [name for name, entry in start.table.items() if entry["state"] == state]
        if names:
            lines.append(f"  {state:<10}  {_summary(start.table, names, state == 'mismatched')}")
    if frozen := [name for name, entry in start.table.items() if entry["frozen"]]:
        lines.append(f"  {'frozen':<10}  {_summary(start.table, frozen, False)}")
    fits, differs = _numbers(start.table, "loaded"), _numbers(start.table, "mismatched")
    if differs > fits:
        config, there = flatten(start.experiment.config), start.source["model"]
        reason = _differences(config, there) or "the images are of another size"
        lines.append(f"  note: most of it does not fit, and is made anew: {reason}")
    head = [name for name in start.loaded if name.startswith("head/")]
    if head and (there := start.source["class_names"]) != (here := start.source["here"]):
        lines.append(
            f"  note: the head is loaded, and knows other classes ({_few(there)}) than the data's "
            f"({_few(here)}): --config.init.skip=head/* makes it anew"
        )
    return lines


def _numbers(table: dict[str, dict[str, Any]], state: str) -> int:
    return sum(math.prod(_shape(entry)) for entry in table.values() if entry["state"] == state)


def _entry(leaf: Any, frozen: bool) -> dict[str, Any]:
    return {"state": "new", "frozen": frozen, "shape": list(leaf.shape), "there": None}


def _compare(table: dict[str, dict[str, Any]], weights: Weights, skip: tuple[str, ...]) -> Arrays:
    """Returns the arrays that are loaded; the table says what becomes of each."""
    norm = {f"{_NORM}{name}": array for name, array in weights.metadata["norm"].items()}
    there = {**weights.params, **weights.batch_stats, **norm}
    for name, entry in table.items():
        if name in there:
            entry["there"] = list(there[name].shape)
        if matches(name, skip):
            entry["state"] = "skipped"
        elif name not in there:
            entry["state"] = "absent"
        else:
            entry["state"] = "loaded" if entry["shape"] == entry["there"] else "mismatched"
    kernel = table.get("trunk/whiten/kernel")
    if kernel is not None and kernel["state"] != "loaded":  # it is of pixels as the data's own norm
        for name in norm.keys() & table.keys():
            table[name]["state"] = "skipped"
    found = {name: there[name] for name, entry in table.items() if entry["state"] == "loaded"}
    for name in there.keys() - table.keys():
        shape = list(there[name].shape)
        table[name] = {"state": "unused", "frozen": False, "shape": None, "there": shape}
    return found


def _check_patterns(key: str, patterns: tuple[str, ...], names: list[str]) -> None:
    for pattern in patterns:
        if not any(matches(name, (pattern,)) for name in names):
            groups = dict.fromkeys(f"{name.partition('/')[0]}/*" for name in names)
            raise UserError(
                f"config key '{key}' expects patterns of names such as {', '.join(groups)} or "
                f"{names[0]}, found '{pattern}', which matches none"
                f"{closest(pattern, [*groups, *names])}"
            )


def _check_frozen(table: dict[str, dict[str, Any]]) -> None:
    for name, entry in table.items():
        if entry["frozen"] and entry["state"] in ("mismatched", "absent"):
            there = "none" if entry["there"] is None else f"the shape {tuple(entry['there'])}"
            raise UserError(
                f"config key 'init.freeze' matches '{name}': expected one of the shape "
                f"{tuple(entry['shape'])} in 'init.from', found {there}; freeze less, take the "
                "image size and section 'model' of that run, or name it in 'init.skip' too"
            )


def _differences(here: dict[str, Any], there: dict[str, Any]) -> str:
    """Returns "model.width is 24 there and 16 here; ...", of keys that sizes depend on."""
    different = [
        f"{key} is {plain(value)!r} there and {plain(here.get(key))!r} here"
        for key, value in there.items()
        if key not in SHAPELESS_KEYS and plain(here.get(key)) != plain(value)
    ]
    more = f"; and {len(different) - _DIFFERENT} more" if len(different) > _DIFFERENT else ""
    return "; ".join(different[:_DIFFERENT]) + more


def _nothing_fits(
    experiment: Experiment, weights: Weights, table: dict[str, dict[str, Any]]
) -> str:
    skip = experiment.config.init.skip
    would_fit = [e for e in table.values() if e["state"] == "skipped" and e["shape"] == e["there"]]
    different = _differences(flatten(experiment.config), weights.metadata["model"])
    reason = f"'init.skip' is {', '.join(skip)}" if would_fit or not different else different
    return (
        f"config key 'init.from' expects weights of a model like this one, found in "
        f"'{weights.metadata['source']}' none that fit and are wanted: {reason}"
    )


def _summary(table: dict[str, dict[str, Any]], names: list[str], shapes: bool) -> str:
    """Returns "2 arrays of 1,290 numbers: head/*"."""
    numbers = sum(math.prod(_shape(table[name])) for name in names)
    plural = "" if len(names) == 1 else "s"
    if shapes:
        shown = [f"{n} {_shape(table[n])}, there {tuple(table[n]['there'])}" for n in names]
    else:
        shown = _grouped(names, list(table))
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return f"{len(names)} array{plural} of {numbers:,} numbers: {', '.join(shown[:_SHOWN])}{more}"


def _shape(entry: dict[str, Any]) -> tuple[int, ...]:
    return tuple(entry["there"] if entry["shape"] is None else entry["shape"])


def _grouped(names: list[str], all_names: list[str]) -> list[str]:
    """Returns the names, "trunk/*" in the place of all that are there below "trunk"."""
    groups: dict[str, None] = {}
    for name in names:
        parts = name.split("/")
        for depth in range(1, len(parts)):
            above = "/".join(parts[:depth]) + "/"
            if all(other in names for other in all_names if other.startswith(above)):
                groups[f"{above}*"] = None
                break
        else:
            groups[name] = None
    return list(groups)


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
