"""Kernels for one device, where XLA's own programs are far from what the device can do."""
