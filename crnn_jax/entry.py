"""How a program that trains begins."""

import sys
from collections.abc import Callable

from crnn_jax.ending import end_at_once
from crnn_jax.huge_pages import restart_with_huge_pages
from crnn_jax.streams import forgive_lost_output, open_standard_files


def run_training(main: Callable[[list[str]], None]) -> None:
    """Calls `main` with this process's arguments, as every program that trains is to begin.

    Its memory is in huge pages. A signal ends it at once, unless the training loop takes it as a
    request. It goes on where its output cannot be written, as that of `main | head`.
    """
    open_standard_files()
    restart_with_huge_pages()
    end_at_once()
    forgive_lost_output()
    main(sys.argv[1:])
