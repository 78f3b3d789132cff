"""From a config and the facts about its data to the objects of a run, for all commands."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.sharding import Mesh
from ml_collections import ConfigDict

from crnn_jax import compile_cache, flops, models, optim, processor
from crnn_jax.compiler import compiler_options
from crnn_jax.config import round_up, steps
from crnn_jax.data import handed
from crnn_jax.data.cache import cache_dir
from crnn_jax.data.dataset import Dataset
from crnn_jax.data.splits import Split
from crnn_jax.mesh import check_batch
from crnn_jax.models.fit import check_fit
from crnn_jax.peaks import peak_flops
from crnn_jax.sharding import tree_shardings
from crnn_jax.tasks import Task, make_task
from crnn_jax.train.resolve import resolve, run_mesh
from crnn_jax.train.state import TrainState, init_state, make_init
from crnn_jax.train.step import Assemble, make_train_step, repeat_step

# On a CPU, half a minute of training and more: oneDNN saves a tenth of it, and costs a few seconds
# of compilation at each start.
ONEDNN_FLOPS = 4e12


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What a run computes with; holds no arrays and no data."""

    config: ConfigDict
    mesh: Mesh
    model: nn.Module
    task: Task
    schedule: optax.Schedule
    optimizer: optax.GradientTransformation
    input_shape: tuple[int, ...]  # (H, W, C), or (F, H, W, C) of a clip
    num_train: int
    steps_per_dispatch: int
    total_steps: int  # a multiple of steps_per_dispatch

    def steps(self, key: str, duration: str) -> int:
        """Returns every how many steps something is done: the duration of the config's `key`.

        A multiple of the steps of a program; for a duration of 0, the whole run: only at its end.
        """
        num_steps = steps(duration, self.num_train, self.config.batch_size, key)
        return round_up(num_steps, self.steps_per_dispatch) or self.total_steps

    def _init(self) -> Callable[[jax.Array, Any], TrainState]:
        return make_init(
            self.model,
            self.optimizer,
            self.input_shape,
            ema=self.config.optim.ema_decay > 0,
            frozen=self.config.init.freeze,
            skips=self.config.optim.skip_nonfinite > 0,
        )

    def init_state(self, norm: dict[str, Any]) -> TrainState:
        """Returns the state at step 0; `norm` is that of `Dataset.norm`."""
        return init_state(self._init(), self.config.seed, norm, self.mesh)

    def abstract_state(self) -> TrainState:
        """Returns the state's shapes, dtypes and shardings, for a restore."""
        return self._abstract_state

    @functools.cached_property
    def _abstract_state(self) -> TrainState:
        channels, model = self.input_shape[-1], self.config.model
        shapes: dict[str, tuple[int, ...]] = {"mean_C": (channels,), "std_C": (channels,)}
        if "whiten_size" in model and model.whiten_size > 0:
            size = model.whiten_size
            shapes["whitening_HWIO"] = (size, size, channels, 2 * size**2 * channels)
        norm = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
        state = jax.eval_shape(self._init(), jax.ShapeDtypeStruct((), jnp.uint32), norm)
        return jax.tree.map(
            lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
            state,
            tree_shardings(state, self.mesh),
        )

    def train_step(self, assemble: Assemble, task: Any = None) -> Any:
        """Returns the run's `make_train_step` with `assemble`, `steps_per_dispatch` times in a row.

        `assemble` is a pipeline's; `task`, where given, takes the place of the run's own.

        Raises:
          UserError: the batch cannot be split over the devices and `optim.accumulation_steps`.
        """
        accumulation_steps = self.config.optim.accumulation_steps
        check_batch(self.config.batch_size, self.mesh, steps=accumulation_steps)
        step = make_train_step(
            self.model,
            task or self.task,
            self.optimizer,
            assemble,
            ema_decay=self.config.optim.ema_decay,
            accumulation_steps=accumulation_steps,
            skip_nonfinite=self.config.optim.skip_nonfinite,
            mesh=self.mesh,
            frozen=self.config.init.freeze,
        )
        return repeat_step(step, self.steps_per_dispatch)

    def describe(self) -> dict[str, int]:
        """Returns the number of parameters and the forward FLOPs per image."""
        parameters = jax.tree.leaves(self.abstract_state().params)
        return {
            "parameters": sum(x.size for x in parameters),
            "flops_per_image": self._forward_flops,
        }

    @functools.cached_property
    def _forward_flops(self) -> int:
        state = self.abstract_state()
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        return flops.forward_flops_per_image(self.model, variables, self.input_shape)

    @functools.cached_property
    def compiler_options(self) -> dict[str, str | bool] | None:
        """What `jax.jit` gets in training: what oneDNN saves must be worth its compilation.

        In bfloat16 it is, in any training: XLA's own convolutions take twice as long as in float32,
        and its own products do not use AMX. In float32 its own products are the faster ones.
        """
        num_flops = 3.0 * self._forward_flops * self.total_steps * self.config.batch_size
        in_bfloat16 = self.config.precision == "bfloat16"
        long = num_flops > ONEDNN_FLOPS or in_bfloat16
        tiled = in_bfloat16 and processor.has_bfloat16_tiles()
        return compiler_options(onednn=tiled or (long and hasattr(self.model, "trunk")))

    @property
    def evaluation_options(self) -> dict[str, str | bool] | None:
        """What `jax.jit` gets to evaluate: in bfloat16 the training's, else such as can be stored.

        XLA's own convolutions in bfloat16 take many times as long, and a whole split is worth a
        compilation at each start. A prediction of a few images is not.
        """
        in_bfloat16 = self.config.precision == "bfloat16"
        return self.compiler_options if in_bfloat16 else compiler_options(onednn=False)

    def mfu(self, images_per_second: float) -> float | None:
        """Returns the share of the devices' published peak that a training at this rate reaches.

        Model FLOPs utilization (Chowdhery et al. 2022, "PaLM", appendix B): three times the forward
        pass's products and convolutions, whatever is computed besides or twice, over the peak of
        the precision (crnn_jax/peaks.py). None where the peak is not known, and where a part is
        frozen, which is less to compute.
        """
        if self.config.init.freeze:
            return None
        kind = self.mesh.devices.flat[0].device_kind
        matmul_precision = jax.config.jax_default_matmul_precision
        peak = peak_flops(kind, self.config.precision, matmul_precision)
        if peak is None:
            return None
        model_flops = flops.TRAIN_OVER_FORWARD * self._forward_flops * images_per_second
        return model_flops / (peak * self.mesh.size)


def enable_compile_cache(config: ConfigDict) -> None:
    """Keeps compiled programs on disk, if the config says so."""
    if config.compile_cache:
        compile_cache.enable(cache_dir(config.data) / "xla")


def build(
    config: ConfigDict,
    input_shape: Sequence[int],
    num_classes: int,
    num_train: int,
    train: Split | None = None,
    class_names: Sequence[str] = (),
) -> Experiment:
    """Returns the `Experiment` of a validated config.

    Args:
      config: any keys; the experiment's has nothing left to choose (`resolve`).
      input_shape: (H, W, C) of the images as stored, (F, H, W, C) of clips.
      num_classes: K.
      num_train: examples of the training split, without the validation part.
      train: that split, for a training; None where nothing is trained.
      class_names: K, for a training.

    Raises:
      UserError: `mesh.*` does not fit the devices, or the model's sizes its input.
    """
    check_fit(config.model, input_shape)
    config = resolve(config, None, lambda: input_shape)  # what `train` resolved stays
    mesh, num_dispatched = run_mesh(config), config.steps_per_dispatch
    num_steps = steps(config.duration, num_train, config.batch_size)
    total_steps = round_up(num_steps, num_dispatched)
    warmup_steps = steps(config.optim.warmup, num_train, config.batch_size, "optim.warmup")
    schedule = optim.make_schedule(config.optim, total_steps, min(warmup_steps, total_steps))
    return Experiment(
        config=config,
        mesh=mesh,
        model=models.build_model(config.model, num_classes, jnp.dtype(config.precision)),
        task=make_task(config, num_classes, train, class_names),
        schedule=schedule,
        optimizer=optim.make_optimizer(
            config.optim,
            schedule,
            total_steps,
            layer_decay=config.init.layer_decay,
            dtype=jnp.dtype(config.precision),
        ),
        input_shape=tuple(input_shape),
        num_train=num_train,
        steps_per_dispatch=num_dispatched,
        total_steps=total_steps,
    )


def build_training(config: ConfigDict, dataset: Dataset) -> Experiment:
    """Returns the `Experiment` of a config that is trained on the data.

    Raises:
      UserError: see `build`; or the task finds a mistake by the examples or by the classes; or an
        augmentation makes an example one of another class.
    """
    handed.check_augmentation(dataset.source, config.data)
    handed.check_views(dataset.source, config.eval.tta)
    names, train = dataset.source.class_names, dataset.split("train")
    return build(config, dataset.source.input_shape, len(names), dataset.num_train, train, names)
