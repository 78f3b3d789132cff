"""Programs that are timed do what a training does."""

import numpy as np

from crnn_jax.mesh import make_mesh
from crnn_jax.studies import probes


def test_the_constant_batch_is_the_first_of_the_training(tiny, start_run):
    """One step on it equals one step of the training: only its preparation is left out."""
    config = tiny("rnn", data__crop_padding=1, mesh__data=1)
    experiment, dataset, pipeline, _, _ = start_run(config)
    norm = dataset.norm()
    programs = [
        probes.training_with_data(experiment, pipeline, norm),
        probes.training_on_constant_batch(experiment, pipeline, norm),
    ]
    for program in programs:
        program(1)
    states = [program._state for program in programs]
    assert [int(state.step) for state in states] == [1, 1]
    kernels = [np.asarray(state.params["head"]["dense"]["kernel"]) for state in states]
    np.testing.assert_allclose(kernels[0], kernels[1], atol=1e-6)
    for program in programs:
        program(1)
    # The second batches differ.
    kernels = [np.asarray(program._state.params["head"]["dense"]["kernel"]) for program in programs]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-6


def test_work_of_the_device_probes():
    mesh = make_mesh(4)
    run, flops = probes.product(mesh, "float32", 16)
    run(2)
    assert flops == 4 * 2 * 16**3
    run, num_bytes = probes.passing_over(mesh, 4096)
    run(2)
    assert num_bytes == 2 * 4096
    reduce = probes.all_reduce(mesh, 10)
    assert reduce is not None
    reduce(2)
    assert probes.all_reduce(make_mesh(1), 10) is None
