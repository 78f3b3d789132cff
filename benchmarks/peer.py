"""A peer in a process of its own, timed in turn with ours: the other end of torch_peer.py."""

import json
import pathlib
import subprocess
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

SCRIPT = pathlib.Path(__file__).parent / "torch_peer.py"


class TorchPeer:
    """PyTorch under the interpreter `python`, which need not be ours.

    Attributes:
      version: PyTorch's, once `make` was called.
      peak_bytes: the most memory of its process until the last answer.
    """

    def __init__(self, python: str) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([python, str(SCRIPT)], stdin=pipe, stdout=pipe, text=True)
        self.version, self.peak_bytes = "", 0

    def make(
        self, kind: str, arrays: dict[str, Any], setting: dict[str, Any]
    ) -> tuple[Any, dict[str, Callable[[], float]]]:
        """Returns (output, {name: program}); a program returns the seconds of one call.

        `kind`, `arrays` and `setting` are of torch_peer.py.
        """
        with tempfile.TemporaryDirectory() as folder:
            files = {"arrays": f"{folder}/arrays.npz", "output": f"{folder}/output.npy"}
            np.savez(files["arrays"], **arrays)
            answer = self._ask({"make": kind, "setting": setting, **files})
            output = np.load(files["output"])
        self.version = answer["torch"]

        def program(name: str) -> Callable[[], float]:
            return lambda: self._ask({"call": name})["seconds"]

        return output, {name: program(name) for name in answer["programs"]}

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        if not (line := stdout.readline()):
            raise SystemExit(f"PyTorch's process ended with code {self._process.wait()}")
        answer = json.loads(line)
        self.peak_bytes = answer["peak_bytes"]
        return answer

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
