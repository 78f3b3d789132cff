"""Recurrent layers: cells, the implementations that run them over time, and the layers' stack."""

from crnn_jax.models.recurrent.layer import Recurrent, RecurrentLayer, recurrent_calls

__all__ = ["Recurrent", "RecurrentLayer", "recurrent_calls"]
