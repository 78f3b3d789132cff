"""Names that a user's classes, files and runs may have."""

HOSTILE = (
    "$\\frac{1}{2}$ & <b>_",
    "_hidden",
    "\U0001f984 unicorn",
    "line\nbreak",
    "long " * 12,
    "W" * 60,
    "",
)
