"""Convolutional-recurrent image models in JAX: train, compare, scale, explain."""

__version__ = "0.1.0"
