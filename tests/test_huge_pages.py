"""The command starts itself again once, with its arguments and the setting."""

import subprocess
import sys

from crnn_jax.huge_pages import SETTING

CODE = """
import os, sys
from crnn_jax.huge_pages import restart_with_huge_pages
restart_with_huge_pages()
print(os.environ["GLIBC_TUNABLES"], sys.argv[1:], os.getpid())
"""


def run(tunables):
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, "a b", "--c=1"],
        stdout=subprocess.PIPE,
        text=True,
        env={"GLIBC_TUNABLES": tunables} if tunables else {},
    )
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.split()[-1] == str(process.pid)  # signals still reach it
    return out.split()


def test_restarted_once_with_the_same_arguments():
    assert run("")[:4] == [SETTING, "['a", "b',", "'--c=1']"]


def test_other_tunables_are_kept_and_a_choice_is_respected():
    assert run("glibc.malloc.check=0")[0] == f"glibc.malloc.check=0:{SETTING}"
    assert run("glibc.malloc.hugetlb=0")[0] == "glibc.malloc.hugetlb=0"
