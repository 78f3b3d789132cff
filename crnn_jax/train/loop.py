"""The only training loop."""

import contextlib
import functools
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from crnn_jax.checkpoint import Checkpoints
from crnn_jax.config import steps
from crnn_jax.data import balance
from crnn_jax.data.dataset import Dataset, load_dataset, with_absolute_paths
from crnn_jax.data.slots import remove_orphans
from crnn_jax.data.transforms import TTA
from crnn_jax.distributed import check_same_on_all, is_first, say, together
from crnn_jax.errors import NotFiniteError, UserError
from crnn_jax.file_lock import only_run
from crnn_jax.mesh import check_batch, replicated
from crnn_jax.sharding import check_room, explain
from crnn_jax.starts import note_start
from crnn_jax.tasks import check_fields
from crnn_jax.tasks.sums import Sums
from crnn_jax.trackers import check_installed
from crnn_jax.train.changes import make_way
from crnn_jax.train.clock import Clock
from crnn_jax.train.evaluator import evaluate, evaluator_of, result_line
from crnn_jax.train.experiment import Experiment, build_training, enable_compile_cache
from crnn_jax.train.patience import Patience, check_validation
from crnn_jax.train.programs import compile_step
from crnn_jax.train.progress import Plan, Progress
from crnn_jax.train.replay import keep_for_replay
from crnn_jax.train.resolve import check_same_programs, resolve
from crnn_jax.train.restore import restore
from crnn_jax.train.results import (
    describe,
    log_training,
    open_writers,
    tell_finished,
    write_evaluation,
    write_results,
)
from crnn_jax.train.start import begin, first_state, read_start
from crnn_jax.train.state import TrainState
from crnn_jax.train.stop import StopRequested, StopSignal
from crnn_jax.train.trace import StepTrace
from crnn_jax.train.watchdog import Watchdog
from crnn_jax.validation import validate
from crnn_jax.workdir import (
    check_same_data,
    check_same_run,
    last_seconds,
    logged_values,
    open_workdir,
    write_config,
    write_dataset,
)
from crnn_jax.writers import Writers, write_json_atomically


def train(
    config: ConfigDict, workdir: str, *, accept_data: bool = False, extend: bool = False
) -> dict[str, Any]:
    """Returns the content of result.json of the run in `workdir`, which it starts or resumes.

    Args:
      config: the run's; it may differ from a stored run's in keys whose declaration says so.
      workdir: where its files are.
      accept_data: let a resumed run's files of data have other contents than they had.
      extend: let `config.duration` be longer than that of the stored run.

    Raises:
      UserError: a mistake in the config, the data or the workdir, or a loss that is not finite;
        another run in the workdir.
      SystemExit: stopped by a signal, after a checkpoint; the code is 128 + the signal's number.
    """
    validate(config)
    config = with_absolute_paths(config)
    remove_orphans()
    with only_run(workdir) if is_first() else contextlib.nullcontext():
        return _train_alone(config, workdir, accept_data, extend)


def _train_alone(
    config: ConfigDict, workdir: str, accept_data: bool, extend: bool
) -> dict[str, Any]:
    """Returns the same, with the workdir locked."""
    folder, stored = open_workdir(workdir)
    clock = Clock()
    read = functools.cache(lambda: together(lambda: load_dataset(config), UserError))
    with clock.phase("setup"):  # a new run's data is read here, since a choice may need its shape
        config = resolve(config, stored, lambda: read().source.input_shape)
    check_same_run(folder, config, stored, extend=extend)
    split, longer = config.eval.report, stored is not None and stored.duration != config.duration
    moved = stored is not None and stored.data.source != config.data.source
    if not longer:
        finished = tell_finished(folder, config, read, is_moved=moved, accept_data=accept_data)
        if finished is not None:
            return finished
    if is_first():
        check_installed(config.log.tracker)
    enable_compile_cache(config)
    with clock.phase("setup"):
        dataset = read()
        source = dataset.source
        check_fields(config, source)
        check_validation(config, dataset)
        together(lambda: dataset.decode(split), UserError)
        experiment = build_training(config, dataset)
        check_batch(config.batch_size, experiment.mesh, steps=config.optim.accumulation_steps)
        facts = dataset.describe()
        check_same_on_all(facts)
        check_same_programs(config)
        check_same_data(folder, facts, accept=accept_data)
        start = functools.cache(lambda: read_start(experiment, source.class_names))
        if stored is None:
            start()  # a mistake in section `init` leaves no config.json
        check_room(experiment.abstract_state(), experiment.mesh)
        warmup_steps = steps(config.optim.warmup, dataset.num_train, config.batch_size)
        if warmup_steps > experiment.total_steps:
            say(
                f"'optim.warmup' is longer than the run, by {warmup_steps} steps to "
                f"{experiment.total_steps}: the learning rate never reaches its peak"
            )
        balanced = config.data.sampling == "balanced" or config.optim.class_weights != "none"
        train_split = dataset.split("train")
        if note := balance.warning(train_split, source.class_names, is_balanced=balanced):
            say(f"warning: {note}", sys.stderr)
        if stored is not None:
            make_way(folder, stored, experiment)
        write_config(folder, config)
        write_dataset(folder, facts)
        norm = dataset.norm()
    checkpoints = Checkpoints(
        folder / "checkpoints",
        keep_latest=config.checkpoint.keep_latest,
        keep_best=config.checkpoint.keep_best,
    )
    with checkpoints:
        with clock.phase("setup"):
            restored = restore(checkpoints, experiment)
        start_step, state = restored or (0, begin(start(), norm, folder))
        note_start(folder, start_step)
        if config.mesh.explain:
            say("\n".join(explain(state)))
        if start_step:
            clock.add(last_seconds(folder, start_step))
            say(f"resuming at step {start_step}/{experiment.total_steps}")
        failure = None
        with open_writers(folder, config, start_step) as writers:
            try:
                state = _run_steps(
                    experiment, dataset, state, start_step, checkpoints, writers, clock, folder
                )
                with clock.phase("evaluation"):
                    results = evaluate(experiment, dataset, split, state)
                result = {**results, **describe(experiment, state, clock)}
                if is_first():
                    write_json_atomically(folder / "result.json", result)
                    write_results(folder, result, experiment.task.score, writers)
            except NotFiniteError as error:
                failure = str(error), error.step
        if failure is not None:  # after the block that holds the state in its traceback
            del state, restored
            again = lambda: first_state(start(), norm)  # noqa: E731
            found = keep_for_replay(experiment, dataset, checkpoints, folder, failure[1], again)
            raise UserError(
                f"{failure[0]}, which may change in this workdir, or 'optim.skip_nonfinite'; "
                f"{found}; earlier checkpoints are kept"
            )
    if (with_views := f"{split}_tta") in results:
        say(result_line(experiment.task, split, results[with_views], config.eval.tta))
    say(f"results in {folder}\n{result_line(experiment.task, split, results[split])}")
    return result


def _run_steps(
    experiment: Experiment,
    dataset: Dataset,
    state: TrainState,
    start_step: int,
    checkpoints: Checkpoints,
    writers: Writers,
    clock: Clock,
    workdir: pathlib.Path,
) -> TrainState:
    """Returns the state after the last step."""
    config, total_steps = experiment.config, experiment.total_steps
    stride, score = experiment.steps_per_dispatch, experiment.task.score
    log_every = max(stride, experiment.steps("log.every", config.log.every))
    save_every = max(stride, experiment.steps("checkpoint.every", config.checkpoint.every))
    eval_every = experiment.steps("eval.every", config.eval.every) or total_steps
    evaluator, scored = None, f"validation/{score}"
    patience = Patience(config.eval.patience, logged_values(workdir, scored, start_step))
    if "validation" in dataset.splits:
        with clock.phase("setup"):
            evaluator = evaluator_of(experiment, dataset, "validation")
        due = start_step > 0 and (start_step % eval_every == 0 or start_step == total_steps)
        if due and checkpoints.score(start_step) is None:  # stopped before or in its validation
            with clock.phase("evaluation"):
                validated = evaluator(state)
            write_evaluation("validation", start_step, validated, writers)
            patience.scores[start_step] = validated[score]
            checkpoints.save(start_step, state, {scored: validated[score]}, force=True)
    if start_step >= total_steps or patience.is_over:
        return state
    with clock.phase("setup"):
        pipeline = dataset.pipeline("train", config.batch_size, experiment.mesh)
        iterator = pipeline.train_inputs(start_step)
        with Watchdog(config.mesh.stuck_seconds):
            inputs = next(iterator)
    with clock.phase("compile"):
        empty = jax.jit(experiment.task.empty, out_shardings=replicated(experiment.mesh))()
        train_step = compile_step(experiment, pipeline.assemble, state, empty, inputs)
    totals, previous = empty, empty
    to_log: tuple[int, Sums, jax.Array | None] | None = None
    with (
        StopSignal() as stop,
        Watchdog(config.mesh.stuck_seconds) as watchdog,
        contextlib.closing(iterator),
        Progress(_plan(experiment, dataset, eval_every, save_every), clock, config.log) as progress,
        StepTrace(config.log.profile, workdir, start_step, clock) as trace,
        clock.phase("train"),
    ):
        for step in range(start_step + stride, total_steps + 1, stride):
            state, totals = trace.run(step, train_step, state, totals, inputs)
            # The host is one program ahead of the device: it waits for the one before this, so
            # that rates are true and a signal is answered, and the device never waits for it.
            jax.block_until_ready(previous)
            previous = totals
            watchdog.beat(step)
            stop.poll(step)
            if to_log is not None:
                log_training(*to_log, experiment, writers, progress, clock)
                to_log = None
            progress.step(step)
            last = step == total_steps or stop.requested is not None
            # A checkpoint's step is logged too: a resumed run reads the seconds spent from there.
            if step % log_every == 0 or step % save_every == 0 or last:
                to_log, totals = (step, totals, _skips(state)), empty
            validated = None
            try:
                if evaluator is not None and (step % eval_every == 0 or step == total_steps):
                    jax.block_until_ready(state)
                    with clock.phase("evaluation"), watchdog.paused():
                        validated = evaluator(state, stop.interruptible)
                    write_evaluation("validation", step, validated, writers)
                    patience.scores[step] = validated[score]
                    if patience.is_over and not last:
                        say(patience.describe(score))
                        last = True
                        to_log, totals = to_log or (step, totals, _skips(state)), empty
                if not last:
                    with stop.interruptible():
                        inputs = next(iterator)
            except StopRequested:
                last = True
                to_log, totals = to_log or (step, totals, _skips(state)), empty
            if step % save_every == 0 or last:
                jax.block_until_ready(state)
                if to_log is not None:
                    log_training(*to_log, experiment, writers, progress, clock)
                    to_log = None
                with clock.phase("checkpoint"):
                    figure = validated and {scored: validated[score]}
                    checkpoints.save(step, state, figure)
            if last:
                break
        jax.block_until_ready(state)
        with clock.phase("checkpoint"):
            checkpoints.wait()
    if stop.requested is not None:
        say(f"stopped by a signal, saved at step {step}; the same command resumes")
        raise SystemExit(128 + stop.requested)
    return state


def _plan(experiment: Experiment, dataset: Dataset, eval_every: int, save_every: int) -> Plan:
    """Returns what is done in the run, for its progress."""
    config, splits = experiment.config, dataset.splits
    num_views = 1 if config.eval.tta == "none" else 1 + TTA[config.eval.tta]  # the plain one, too
    return Plan(
        total_steps=experiment.total_steps,
        batch_size=config.batch_size,
        num_train=dataset.num_train,
        eval_every=eval_every,
        save_every=save_every,
        num_validation=len(splits["validation"]) if "validation" in splits else 0,
        num_final=num_views * len(dataset.split(config.eval.report)),
    )


def _skips(state: TrainState) -> jax.Array | None:
    """Returns a copy, since the state is given away, of how many updates were skipped."""
    return None if state.skipped is None else jnp.copy(state.skipped["total"])
