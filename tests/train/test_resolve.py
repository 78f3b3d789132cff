"""What is left to the start of a run: chosen, or kept from the run that is resumed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax import distributed, models, processor
from crnn_jax.config import default_config, flatten
from crnn_jax.errors import UserError
from crnn_jax.mesh import batch_parts
from crnn_jax.train import loop
from crnn_jax.train.resolve import (
    check_same_programs,
    choose_precision,
    choose_steps_per_dispatch,
    resolve,
    run_mesh,
)

SHAPE = (32, 32, 3)


def config_of(steps, pipeline="resident", model="rnn"):
    config = default_config(model)
    config.steps_per_dispatch, config.data.pipeline = steps, pipeline
    return config


def not_read():
    raise AssertionError("nothing that is left to choose needs the data")


@pytest.mark.parametrize(
    ("pipeline", "backend", "expected"),
    [("resident", "cpu", 1), ("streaming", "gpu", 1), ("resident", "unheard-of", 1)],
)
def test_steps_in_a_program(pipeline, backend, expected):
    assert choose_steps_per_dispatch(config_of(0, pipeline), backend) == expected


def test_an_accelerator_takes_several_steps_at_once():
    assert choose_steps_per_dispatch(config_of(0), "gpu") > 1


def test_a_new_run_has_nothing_left_to_choose():
    config = config_of(0)
    resolved = resolve(config, None, lambda: SHAPE)
    assert resolved.steps_per_dispatch == 1
    assert resolved.model.implementation not in ("auto", "")
    assert (config.steps_per_dispatch, config.model.implementation) == (0, "auto")
    assert flatten(resolve(resolved, None, not_read)) == flatten(resolved)
    assert resolve(config_of(3), None, lambda: SHAPE).steps_per_dispatch == 3
    resolve(config_of(0, model="cnn"), None, not_read)


def test_a_resumed_run_keeps_its_choices():
    stored = config_of(16)
    stored.model.implementation = "scan"
    resumed = resolve(config_of(0), stored, not_read)
    assert (resumed.steps_per_dispatch, resumed.model.implementation) == (16, "scan")
    changed = config_of(2)
    changed.model.implementation = "hoisted"
    changed = resolve(changed, stored, not_read)  # refused later, as another run
    assert (changed.steps_per_dispatch, changed.model.implementation) == (2, "hoisted")
    # A choice that the stored run had not made yet is made now.
    stored.model.implementation = "auto"
    assert resolve(config_of(0), stored, lambda: SHAPE).model.implementation != "auto"


@pytest.mark.parametrize(
    ("model", "backend", "flags", "expected"),
    [
        ("crnn", "cpu", "fpu avx2 avx512f", "float32"),
        ("crnn", "cpu", "fpu avx512f avx512_bf16", "bfloat16"),
        ("cnn", "cpu", "amx_bf16 amx_tile", "bfloat16"),
        ("rnn", "cpu", "avx512_bf16", "float32"),  # has no convolution
        ("rnn", "cpu", "avx512_bf16 amx_bf16", "bfloat16"),
        ("crnn", "cpu", None, "float32"),
        ("rnn", "gpu", "fpu", "bfloat16"),
    ],
)
def test_precision_follows_what_multiplies_it(
    model, backend, flags, expected, monkeypatch, tmp_path
):
    cpuinfo = tmp_path / "cpuinfo"
    if flags is not None:
        cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: spectre_v1\n")
    monkeypatch.setattr("crnn_jax.processor.CPUINFO", cpuinfo)
    assert choose_precision(default_config(model), backend) == expected


def test_a_resumed_run_keeps_its_precision(monkeypatch):
    config, stored = config_of(1, model="cnn"), config_of(1, model="cnn")
    config.precision, stored.precision = "auto", "bfloat16"
    monkeypatch.setattr("crnn_jax.train.resolve.choose_precision", lambda *_: "float32")
    assert resolve(config, None, not_read).precision == "float32"
    assert resolve(config, stored, not_read).precision == "bfloat16"


def test_the_global_batch_follows_from_that_of_a_device():
    config = config_of(0, model="cnn")
    config.batch_size, config.batch_size_per_device = 0, 4
    config.mesh.data, config.mesh.fsdp = 2, 2
    resolved = resolve(config, None, not_read)
    assert batch_parts(run_mesh(config)) == 4
    assert (resolved.batch_size, resolved.batch_size_per_device) == (16, 0)


def test_auto_becomes_the_fastest_for_what_the_layer_reads(monkeypatch):
    asked = []

    def fastest(*shape, remat):
        asked.append((*shape, remat))
        return "fused"

    monkeypatch.setattr(models, "fastest", fastest)
    config = default_config("crnn")
    config.mesh.data = 2

    def resolved():
        return resolve(config, None, lambda: SHAPE).model.implementation

    assert resolved() == "fused"
    steps = 4  # what the last map has
    shape = ("gru", steps, config.model.hidden_units, config.batch_size // 2, jnp.float32)
    config.model.remat = True
    resolved()
    assert asked == [(*shape, False), (*shape, True)]
    config.model.implementation = "hoisted"
    assert resolved() == "hoisted"


@pytest.mark.parametrize(
    ("precision", "words"),
    [
        ("auto", "=float32, .* on cpu on process 0 and .*=bfloat16, .* on cpu with AMX on proc"),
        ("bfloat16", "on cpu without AMX on process 0 and .* on cpu with AMX on process 1"),
        ("float32", None),
    ],
)
def test_hosts_of_other_processors_do_not_train_together(monkeypatch, tmp_path, precision, words):
    config = config_of(0)
    config.precision = precision
    hosts = []
    for name, flags in (("old", "sse avx2"), ("new", "avx512_bf16 amx_bf16")):
        (tmp_path / name).write_text(flags)
        hosts.append(tmp_path / name)
    rows = []

    def start(host):
        monkeypatch.setattr(processor, "CPUINFO", host)
        check_same_programs(resolve(config, None, lambda: SHAPE))

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(distributed, "_of_all", lambda row: rows.append(row) or np.stack([row] * 2))
    for host in hosts:
        start(host)  # what each of them hands to the other
    monkeypatch.setattr(distributed, "_of_all", lambda _: np.stack(rows))
    for host in hosts:
        if words is None:
            start(host)
            continue
        with pytest.raises(UserError, match=f"expect the same programs, found .*{words}") as error:
            start(host)
        assert str(error.value).endswith("hosts of one kind, or 'precision=float32' in a new run")


def test_a_start_compares_its_programs_before_it_is_a_run(tiny, tmp_path, monkeypatch):
    def other(config):
        assert config.steps_per_dispatch > 0  # 0 left it open
        raise UserError("other programs")

    monkeypatch.setattr(loop, "check_same_programs", other)
    with pytest.raises(UserError, match="other programs"):
        loop.train(tiny("rnn", precision="float32"), str(tmp_path))
    assert not (tmp_path / "config.json").exists()
