"""How Sphinx builds the site: `make docs`."""

import os
import pathlib

import crnn_jax

# Importing the package for its docstrings needs no accelerator.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

project = "crnn_jax"
author = "The crnn_jax developers"
copyright = "The crnn_jax developers, Apache-2.0"
version = release = crnn_jax.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
myst_heading_anchors = 4  # the anchors that GitHub makes, too
myst_enable_extensions = ["colon_fence", "dollarmath"]

html_theme = "furo"
html_title = f"crnn_jax {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_use_rtype = False
nitpicky = False

_ROOT = pathlib.Path(__file__).parent.parent
