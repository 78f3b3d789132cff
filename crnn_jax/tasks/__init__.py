"""Tasks by name; what each is made of: `task.Task`."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from crnn_jax.data.splits import Source, Split
from crnn_jax.errors import UserError
from crnn_jax.models import MODELS, output_of
from crnn_jax.tasks.classification import Classification
from crnn_jax.tasks.segmentation import Segmentation
from crnn_jax.tasks.task import Task
from crnn_jax.tasks.video import Video

TASKS: dict[str, type[Task]] = {
    "classification": Classification,
    "video": Video,
    "segmentation": Segmentation,
}


def make_task(
    config: ConfigDict,
    num_classes: int,
    train: Split | None = None,
    class_names: Sequence[str] = (),
) -> Task:
    """Returns the task that `config.task` names; see `Task.of` for the arguments.

    Raises:
      UserError: the model returns another kind of output than the task reads.
    """
    task, name = TASKS[config.task], config.model.name
    if output_of(name) is not task.output:
        fitting = [other for other in MODELS if output_of(other) is task.output]
        raise UserError(
            f"task '{config.task}' expects 'model.name' to be one of {', '.join(fitting)}, found "
            f"'{name}': choose one of them, or change config key 'task'"
        )
    return TASKS[config.task].of(config, num_classes, train, class_names)


def check_fields(config: ConfigDict, source: Source) -> None:
    """Checks that the source of a config has what its task needs.

    Raises:
      UserError: it lacks a field, or has one of another kind.
    """
    needed, found = TASKS[config.task].fields(source.input_shape), source.train.fields
    kinds = {name: field.kind for name, field in found.items()}
    if any(kinds.get(name) != field.kind for name, field in needed.items()):
        raise UserError(
            f"task '{config.task}' expects a source with the fields {', '.join(needed)}, found "
            f"{', '.join(found)} in '{source.name}': change config key 'task' or 'data.source'"
        )
