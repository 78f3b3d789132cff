"""The files that README and docs name in their commands: photo.jpg, photos/CLASS/..., clips/..."""

import pathlib
import shutil

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).parent.parent


def make_folder(folder: pathlib.Path) -> None:
    """Makes the files that pages name: photo.jpg, photos/CLASS/..., new.jpg, and the like."""
    for name in ("configs", "launch", "docs"):
        (folder / name).symlink_to(ROOT / name)
    # What `studies.cost` reads; a kept run of the real size would not be that of a small one.
    shutil.copytree(ROOT / "results/scaling", folder / "results/scaling")
    random = np.random.default_rng(0)

    def picture(path: str) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 48, 3), np.uint8)).save(folder / path)

    def clip(path: str) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        frames = [Image.fromarray(random.integers(0, 256, (24, 24, 3), np.uint8)) for _ in range(9)]
        frames[0].save(folder / path, save_all=True, append_images=frames[1:])

    for path in ("photo.jpg", "photo.png", "new.jpg", "folder/a.png"):
        picture(path)
    for part in ("train", "test"):
        for index in range(4):
            picture(f"scenes/{part}/images/{index}.png")
            (folder / f"scenes/{part}/masks").mkdir(exist_ok=True)
            mask_HW = random.integers(0, 2, (40, 48)).astype(np.uint8)
            Image.fromarray(mask_HW).save(folder / f"scenes/{part}/masks/{index}.png")
            for name in ("left", "right"):
                clip(f"clips/{part}/{name}/{index}.gif")
    (folder / "scenes/classes.txt").write_text("ground\nthing\n")
    for name in ("cat", "dog"):
        for index in range(40):
            picture(f"photos/{name}/{index}.jpg")
