"""Runs as files for those who have no workdir, or no JAX: python -m crnn_jax.export."""
