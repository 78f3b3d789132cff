"""Every test here is marked, and computes its products in full precision."""

import jax
import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if "distributed" in item.path.parts:
            item.add_marker(pytest.mark.distributed)


@pytest.fixture(autouse=True)
def exact_products():
    with jax.default_matmul_precision("highest"):
        yield
