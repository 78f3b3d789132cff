"""How Sphinx builds the site: `make docs`."""

import html.parser
import os
import pathlib
import re
from typing import Any
from urllib.parse import unquote, urlsplit

from docutils import nodes
from sphinx.errors import SphinxError

import crnn_jax

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # docstrings need no accelerator

project = "crnn_jax"
author = "The crnn_jax developers"
copyright = "The crnn_jax developers, Apache-2.0"
version = release = crnn_jax.__version__

extensions = [
    "myst_nb",  # pages in Markdown, and the notebook
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
smartquotes = False  # would change --flags and {"names"} of docstrings
nb_execution_mode = "off"  # a test runs the notebook
myst_heading_anchors = 4  # the anchors that GitHub makes, too
myst_url_schemes = {"http": None, "https": None, "source": "_modules/{{path}}.html"}

html_theme = "furo"
html_title = f"crnn_jax {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_use_rtype = False

_HERE = pathlib.Path(__file__).parent
_DOCUMENTED = {
    name
    for page in _HERE.glob("api/*.md")
    for name in re.findall(r"module:: (\S+)", page.read_text())
}


def _link_source(app: Any, docname: str, source: list[str]) -> None:
    """Lets a link to a documented module's file lead to its page on the site."""

    def page(match: re.Match[str]) -> str:
        path = match[1].removesuffix("/__init__")
        return f"](source:{path})" if path.replace("/", ".") in _DOCUMENTED else match[0]

    source[0] = re.sub(r"\]\(\.\./(crnn_jax/[\w/]+)\.py\)", page, source[0])


def _as_restructured_text(
    app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Turns `code` into ``code``, and takes the meaning from what stands outside of it."""
    parts = re.split(r"(`+[^`]+`+)", "\n".join(lines))
    for index, part in enumerate(parts):
        if index % 2:
            parts[index] = f"``{part.strip('`')}``"
        else:
            part = re.sub(r"([*|])", r"\\\1", part)
            part = re.sub(r"(?<=: )([A-Z])\.", r"\1\\.", part)  # "K." would begin a list
            # A plural right after code, `Task`s, needs a separator that is not shown.
            parts[index] = re.sub(r"^(?=\w)", r"\\ ", part) if index else part
    lines[:] = "".join(parts).split("\n")


def _leave_out(app: Any, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Leaves out the fields of a named tuple: its docstring has them."""
    doc = getattr(thing, "__doc__", None)
    return True if isinstance(doc, str) and doc.startswith("Alias for field") else None


def _show_commands(app: Any, what: str, name: str, thing: Any, options: Any, lines: Any) -> None:
    """Shows the commands in a module's docstring as they are typed."""
    if what != "module":
        return
    lines[0] = re.sub(r"python -m \S+.*", r"``\g<0>``", lines[0])  # what follows "Title: "
    text = "\n".join(lines)
    lines[:] = re.sub(r"(?m)^(\S.*)\n\n(?= {4}\S)", r"\1\n\n::\n\n", text).split("\n")


def _draw_dashes(app: Any, doctree: Any) -> None:
    """Draws the dash that Sphinx puts between a parameter and its meaning as a dash."""
    for text in list(doctree.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" \N{EN DASH} "))


def _link_pictures(app: Any, doctree: Any) -> None:
    """Lets a picture lead to itself in full size, as Sphinx does with those that have a scale."""
    for image in doctree.findall(nodes.image):
        image.setdefault("scale", 100)


class _Page(html.parser.HTMLParser):
    """The targets and anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        for name, value in attrs:
            if name == "id":
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.targets.add(value)


def _check_links(app: Any, error: Exception | None) -> None:
    """Ends the build if a link of a page leads to nothing.

    Raises:
      SphinxError: names each of them.
    """
    if error is not None or app.builder.name != "html":
        return
    folder = pathlib.Path(app.outdir)
    pages = {path: _Page(path.read_text()) for path in folder.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        for target in page.targets:
            url = urlsplit(target)
            if url.scheme or url.netloc:
                continue
            found = (path.parent / unquote(url.path)).resolve() if url.path else path
            anchor = unquote(url.fragment)
            missing = anchor and found in pages and anchor not in pages[found].anchors
            if not found.exists() or missing:
                broken.append(f"{path.relative_to(folder)}: {target}")
    if broken:
        raise SphinxError("broken links:\n" + "\n".join(sorted(broken)))


def setup(app: Any) -> None:
    """Connects the functions above."""
    app.connect("source-read", _link_source)
    app.connect("autodoc-process-docstring", _as_restructured_text, priority=400)
    app.connect("autodoc-skip-member", _leave_out)
    app.connect("autodoc-process-docstring", _show_commands)
    app.connect("doctree-read", _draw_dashes)
    app.connect("doctree-read", _link_pictures)
    app.connect("build-finished", _check_links)
