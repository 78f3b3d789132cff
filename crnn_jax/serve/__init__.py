"""A trained model that answers over HTTP: python -m crnn_jax.serve."""
