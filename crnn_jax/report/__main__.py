"""One page of runs: python -m crnn_jax.report --workdir=runs/a [--workdir=runs/b] --out=report.html

One HTML file that needs nothing else: results, how they were made, learning curves, throughput,
the evaluation reports and studies' pictures that lie in the workdirs or beside them, and what the
configs differ in. Reads result files only. --serve shows the page while a training runs.
"""

import os
import pathlib
import sys

from crnn_jax.errors import OneLineParser, UserError, one_line_errors
from crnn_jax.report.page import make_page
from crnn_jax.report.run_files import changed_at
from crnn_jax.report.serve import PageServer


def main(argv: list[str]) -> None:
    """Writes the page, or serves it until it is interrupted."""
    parser = OneLineParser(prog="python -m crnn_jax.report", description=__doc__)
    parser.add_argument(
        "--workdir", action="append", required=True, help="folder of a run; repeatable"
    )
    parser.add_argument("--out", default="report.html", help="the file to write")
    parser.add_argument("--results", default="results", help="folder of studies' results, if any")
    parser.add_argument("--serve", action="store_true", help="serve it on this machine, live")
    parser.add_argument("--port", type=int, default=8000, help="port of --serve; 0: any free one")
    flags = parser.parse_args(argv)
    with one_line_errors():
        if flags.serve:
            _serve(flags.workdir, flags.results, flags.port)
            return
        page = make_page(flags.workdir, flags.results)
        _write(pathlib.Path(flags.out).expanduser(), page)
        plural = "" if len(flags.workdir) == 1 else "s"
        print(f"{flags.out}: {len(page) / 1e6:.2f} MB, {len(flags.workdir)} run{plural}")


def _write(path: pathlib.Path, page: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(page)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"--out expects a file that can be written, found '{path}' ({error.strerror})"
        ) from error


def _serve(workdirs: list[str], results: str, port: int) -> None:
    make_page(workdirs, results, live=True)  # a mistake is told at once

    def make() -> bytes:
        return make_page(workdirs, results, live=True)

    with PageServer(port, make, lambda: changed_at(workdirs)) as server:
        print(f"serving {server.url} until interrupted", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("ended")


if __name__ == "__main__":
    main(sys.argv[1:])
