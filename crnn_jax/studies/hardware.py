"""Published figures of accelerators, per chip, with where each stands; read 2026-11.

Bandwidths are one way: what a chip can send while it receives as much. A TPU's ICI figure is the
sum over its links, all of which rings over the axes of the torus use.
"""

import dataclasses

_TPU = "cloud.google.com/tpu/docs/"
_H100 = "NVIDIA H100 data sheet (SXM; dense bf16)"
_DGX = "NVLink 900 GB/s both ways; one 400 Gb/s network card a GPU: NVIDIA DGX {} data sheet"


@dataclasses.dataclass(frozen=True)
class Chip:
    """What one chip can do.

    Attributes:
      peak: dense bf16 FLOP/s.
      memory: bytes.
      memory_bandwidth: bytes/s.
      inside: bytes/s one way to the other chips of a domain (ICI, NVLink).
      domain: chips that `inside` connects.
      torus: axes of the torus inside a domain; 0: a switch.
      outside: bytes/s one way and chip between domains (data-centre network, InfiniBand).
      source: where the figures are from.
    """

    peak: float
    memory: float
    memory_bandwidth: float
    inside: float
    domain: int
    torus: int
    outside: float
    source: str


# A v4's network share is not published; its domain is as large as any projection here.
CHIPS: dict[str, Chip] = {
    "v4": Chip(275e12, 32e9, 1228e9, 300e9, 4096, 3, 3.1e9, f"{_TPU}v4 (2400 Gbps ICI)"),
    "v5e": Chip(197e12, 16e9, 819e9, 200e9, 256, 2, 3.125e9, f"{_TPU}v5e (1600 Gbps ICI)"),
    "v5p": Chip(459e12, 95e9, 2765e9, 600e9, 6144, 3, 6.25e9, f"{_TPU}v5p (4800 Gbps ICI)"),
    "v6e": Chip(918e12, 32e9, 1640e9, 448e9, 256, 2, 12.5e9, f"{_TPU}v6e (3584 Gbps ICI)"),
    "H100": Chip(989e12, 80e9, 3350e9, 450e9, 8, 0, 50e9, f"{_H100}; {_DGX.format('H100')}"),
    "H200": Chip(
        989e12, 141e9, 4800e9, 450e9, 8, 0, 50e9, f"NVIDIA H200 data sheet; {_DGX.format('H200')}"
    ),
}

# Dollars per chip and hour, on demand: round figures of 2026, an assumption too. Prices differ
# several-fold between providers, regions and contracts: `studies.cost --price` takes yours.
PRICES = {"v4": 3.2, "v5e": 1.2, "H100": 3.0}

# Assumptions, not publications: the start-up of one collective and of each hop of it.
START_SECONDS = 5e-6
HOP_SECONDS = {"inside": 1e-6, "outside": 10e-6}
