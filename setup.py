"""Packs configs/ of the repository into a wheel, as crnn_jax/configs; all else: pyproject.toml."""

import pathlib

from setuptools import setup
from setuptools.command.build_py import build_py

CONFIGS = pathlib.Path("configs")


class BuildWithConfigs(build_py):
    """A build that has the presets in it; an editable installation reads them where they lie."""

    def run(self):
        """Builds."""
        super().run()
        if self.editable_mode:
            return
        target = pathlib.Path(self.build_lib, "crnn_jax", "configs")
        self.mkpath(str(target))
        for path in sorted(CONFIGS.glob("*.py")):
            self.copy_file(str(path), str(target / path.name))


setup(cmdclass={"build_py": BuildWithConfigs})
