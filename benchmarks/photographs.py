"""Writes ImageNet's photographs as a folder of two classes: a small set of large images.

    TFDS_DATA_DIR=... python benchmarks/photographs.py --out=runs/photographs

The files of tfds:imagenet2012 are written as they are, as OUT/animal/N.jpg and OUT/thing/N.jpg.
ImageNet's synsets are in order: the first 398 classes are animals. It is for a smoke set of one
image a class, which no class can be learned from; docs/finetune.md compares trainings on it.
"""

import argparse
import pathlib

from jpegs import files, load

from crnn_jax.data.splits import labels_of

ANIMALS = 398  # classes 0 to 397; 398, abacus, is the first thing


def main() -> None:
    """Writes the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", required=True)
    out = pathlib.Path(parser.parse_args().out)
    source = load()
    labels = [int(label) for split in (source.train, source.test) for label in labels_of(split)]
    names = ["animal" if label < ANIMALS else "thing" for label in labels]
    for name in set(names):
        (out / name).mkdir(parents=True, exist_ok=True)
    for number, (name, content) in enumerate(zip(names, files(source), strict=True)):
        (out / name / f"{number:03d}.jpg").write_bytes(content)
    print(f"{out}: " + ", ".join(f"{names.count(name)} of {name}" for name in sorted(set(names))))


if __name__ == "__main__":
    main()
