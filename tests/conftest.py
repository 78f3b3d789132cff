"""Eight virtual CPU devices, quick compiles, a private cache, and the real data if there is any."""

import math
import os
import pathlib
import shutil
import signal
import tempfile

# TEST_PLATFORM=cuda is for the tests marked gpu.
os.environ["JAX_PLATFORMS"] = os.environ.get("TEST_PLATFORM", "cpu")
if os.environ["JAX_PLATFORMS"] == "cpu":
    # Most of a test's time is compilation; without the optimizer's passes it is half of that.
    os.environ["XLA_FLAGS"] = " ".join(
        [
            os.environ.get("XLA_FLAGS", ""),
            "--xla_force_host_platform_device_count=8",
            "--xla_backend_optimization_level=0",
        ]
    )

# An array of fewer axes takes part only where the code says along which one.
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"

import pytest

# nohup has it ignored, and a run that it started rightly goes on; tests send the signal.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.chdir(pathlib.Path(__file__).parent.parent)  # configs/ are named from the repository's root


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory):
    """Keeps decoded images and compiled programs of the tests out of the user's cache."""
    folder = tmp_path_factory.getbasetemp().parent / "crnn_jax_cache"
    os.environ["XDG_CACHE_HOME"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def tfds_dir() -> pathlib.Path:
    """The folder that holds cifar10/3.0.2 in TFDS layout, from $TFDS_DATA_DIR."""
    folder = pathlib.Path(os.environ.get("TFDS_DATA_DIR", "/nonexistent"))
    if not (folder / "cifar10" / "3.0.2").is_dir():
        pytest.skip("real data: TFDS_DATA_DIR does not name a folder with cifar10/3.0.2")
    return folder


@pytest.fixture
def as_somebody():
    """A folder, for a user whom permissions hold: they do not hold root."""
    with tempfile.TemporaryDirectory() as name:
        user = os.geteuid()
        if user == 0:
            os.chmod(name, 0o777)
            os.seteuid(65534)
        try:
            yield pathlib.Path(name)
        finally:
            os.seteuid(user)


@pytest.fixture
def tiny():
    """Returns make(model, **overrides): a digits config so small that a run takes a second or two.

    Override keys are dotted config keys with "__" for the dot.
    """
    from crnn_jax import config as cfg
    from crnn_jax.flags import resolve_config

    def make(model="crnn", **overrides):
        small = {
            "model.width": 4,
            "model.hidden_units": 8,
            "model.num_conv_layers": 2,
            "model.patch_sizes": (4,),  # one layer: compiling a sweep takes long
            "model.depths": (1,),
            "model.channels": (8,),
        }
        other = model in cfg.SEGMENTERS  # the digits have no preset of it
        config = resolve_config(f"configs/digits.py:{'cnn' if other else model}", {})
        if other:
            keys = cfg.default_config(model).model
            known = {k: v for k, v in config.model.items() if k in keys and k != "name"}
            config.model = keys
            config.model.update(known)
        for key, value in small.items():
            if key.removeprefix("model.") in config.model:
                cfg.override(config, key, str(value))
        for key, value in {
            "mesh.data": 1,
            "batch_size": 64,
            "duration": "12 steps",
            "optim.warmup": "2 steps",
            "checkpoint.every": "4 steps",
            "eval.every": "6 steps",
            "log.every": "3 steps",
            "log.tracker": "none",
            **{key.replace("__", "."): value for key, value in overrides.items()},
        }.items():
            cfg.override(config, key, str(value))
        return config

    return make


@pytest.fixture(scope="session")
def trained_runs(tmp_path_factory):
    """The workdirs of `finished`, by what they were trained with; none is trained twice."""
    return tmp_path_factory.mktemp("finished"), {}


@pytest.fixture
def finished(tiny, trained_runs, tmp_path):
    """Returns make(model, **overrides): the workdir of a finished run of `tiny`'s config, a copy.

    The copy is tmp_path/run, or tmp_path/NAME with the argument `name`.
    """
    from crnn_jax.train.loop import train

    folder, kept = trained_runs

    def make(model="rnn", name="run", **overrides):
        key = (model, *sorted(overrides.items()))
        if key not in kept:
            kept[key] = folder / str(len(kept))
            train(tiny(model, **overrides), str(kept[key]))
        return pathlib.Path(shutil.copytree(kept[key], tmp_path / name))

    return make


@pytest.fixture
def recipe():
    """Overrides for `tiny` that switch everything on that short trainings are made of."""
    return {
        "model__whiten_size": 2,
        "model__conv_init": "dirac",
        "model__activation": "gelu",
        "model__norm_scale": False,
        "model__norm_momentum": 0.6,
        "model__logit_scale": 0.5,
        "data__flip": "alternating",
        "data__cutout": 2,
        "optim__name": "muon",
        "optim__weight_decay": 0.5,
        "optim__bias_learning_rate_multiplier": 4,
        "optim__lookahead_steps": 5,
        "optim__ema_decay": 0.9,
        "eval__tta": "mirror_shift",
    }


@pytest.fixture
def start_run():
    """Returns start(config) -> (experiment, dataset, training pipeline, train step, state)."""
    from crnn_jax.data.dataset import load_dataset
    from crnn_jax.train.experiment import build
    from crnn_jax.train.step import make_train_step

    def start(config):
        dataset = load_dataset(config)
        source = dataset.source
        experiment = build(config, source.input_shape, source.num_classes, dataset.num_train)
        pipeline = dataset.pipeline("train", config.batch_size, experiment.mesh)
        step = make_train_step(
            experiment.model,
            experiment.task,
            experiment.optimizer,
            pipeline.assemble,
            ema_decay=config.optim.ema_decay,
            accumulation_steps=config.optim.accumulation_steps,
            mesh=experiment.mesh,
        )
        return experiment, dataset, pipeline, step, experiment.init_state(dataset.norm())

    return start


@pytest.fixture(scope="session")
def draw():
    """draw(model, *args, seed=0, **kwargs): variables like model.init(key, *args, **kwargs).

    Drawn by numpy: nothing is compiled.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    def make(model, *args, seed=0, **kwargs):
        shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *args, **kwargs))
        random = np.random.default_rng(seed)

        def leaf(path, shape):
            name, noise = path[-1].key, random.normal(size=shape.shape)
            if name.startswith("kernel"):
                value = noise / math.sqrt(math.prod(shape.shape[:-1]))
            else:  # biases and statistics, none of them zero; variances and scales positive
                value = 1.0 + 0.2 * np.tanh(noise) if name in ("var", "scale") else 0.3 * noise
            return jnp.asarray(value, shape.dtype)

        return jax.tree_util.tree_map_with_path(leaf, shapes)

    return make


@pytest.fixture
def drawn(monkeypatch):
    """drawn(): the texts of the figure written last, each with its place, and the figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    written, savefig = [], Figure.savefig

    def keep(figure, *args, **kwargs):
        savefig(figure, *args, **kwargs)
        written.append(figure)

    def look():
        figure = written[-1]
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
        return [(text.get_text(), text.get_window_extent(renderer)) for text in texts], figure

    monkeypatch.setattr(Figure, "savefig", keep)
    return look
