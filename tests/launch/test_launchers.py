"""The launchers print exactly what they would run; the manifests are JobSets; keep keeps going.

Accept a change of what is printed with UPDATE_GOLDEN=1.
"""

import os
import pathlib
import subprocess
import sys

import pytest
import yaml

from tests.launch.jobset import jobset_errors

GOLDEN = pathlib.Path(__file__).parent / "golden"
ARGUMENTS = [
    "--config=configs/cifar10.py:crnn",
    "--workdir=runs/a b",
    "--config.duration=20 epochs",
]
CASES = {
    "local_gpus": ("local_gpus.sh", ARGUMENTS, {}),
    "local_processes": ("local_processes.sh", ["2", "4", "--", *ARGUMENTS], {}),
    "local_processes_gpu": ("local_processes.sh", ["2", "0", "--", *ARGUMENTS], {}),
    "slurm": ("slurm.sh", ARGUMENTS, {"NODES": "2", "GPUS": "4", "PARTITION": "a100"}),
    "gke_tpu": ("gke_jobset.sh", ["tpu", *ARGUMENTS], {"IMAGE": "image:1"}),
    "gke_gpu": ("gke_jobset.sh", ["gpu", *ARGUMENTS], {"IMAGE": "image:1", "HOSTS": "4"}),
    **{
        f"tpu_vm_{action}": ("tpu_vm.sh", [action, *arguments], environ)
        for action, arguments, environ in (
            ("create", [], {"SPOT": "1"}),
            ("queue", [], {"SPOT": "1", "TYPE": "v5litepod-16", "PROJECT": "p"}),
            ("copy", [], {}),
            ("install", [], {"BUCKET": "b"}),
            ("run", ARGUMENTS, {}),
            ("keep", ARGUMENTS, {"SPOT": "1", "TYPE": "v5litepod-16", "BUCKET": "b"}),
            ("logs", [], {}),
            ("delete", [], {}),
        )
    },
}  # fmt: skip


def launch(script, arguments, environ, path=None):
    base = {"PATH": path or os.environ["PATH"], "HOME": "/nonexistent", "ZONE": "z", "PORT": "1234"}
    return subprocess.run(
        [f"launch/{script}", *arguments],
        env={**base, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("name", CASES)
def test_dry_runs_print_what_would_run(name):
    script, arguments, environ = CASES[name]
    done = launch(script, ["--dry_run", *arguments], environ)
    assert done.returncode == 0, done.stderr
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(done.stdout)
    assert done.stdout == path.read_text(), "accept a change with UPDATE_GOLDEN=1"


def test_every_launcher_has_a_dry_run():
    scripts = {path.name for path in pathlib.Path("launch").glob("*.sh")}
    assert scripts == {script for script, *_ in CASES.values()}
    for name in CASES:
        if "install" not in name and "create" not in name:
            text = (GOLDEN / f"{name}.txt").read_text()
            trains = any(word in name for word in ("local", "slurm", "gke", "run", "keep"))
            assert ("crnn_jax.main" in text) == trains


@pytest.mark.parametrize("kind", ["tpu", "gpu"])
def test_manifests_are_jobsets(kind):
    text = (GOLDEN / f"gke_{kind}.txt").read_text()
    manifest = yaml.safe_load("\n".join(text.splitlines()[1:-1]))
    assert jobset_errors(manifest) == []
    job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
    container = job["template"]["spec"]["containers"][0]
    assert container["command"] == ["python", "-m", "crnn_jax.main", *ARGUMENTS]
    if kind == "gpu":
        environ = {item["name"]: item["value"] for item in container["env"]}
        assert environ["CRNN_JAX_NUM_PROCESSES"] == str(job["completions"]) == "4"
        name = manifest["metadata"]["name"]
        assert environ["CRNN_JAX_COORDINATOR"] == f"{name}-workers-0-0.{name}:8476"


def test_the_check_of_manifests_sees_what_is_wrong():
    text = (GOLDEN / "gke_gpu.txt").read_text()
    lines = "\n".join(text.splitlines()[1:-1])
    for old, new, error in (
        ("maxRestarts: 100", "maxRestart: 100", "spec.failurePolicy.maxRestart is unknown"),
        ("replicas: 1", "replicas: one", "spec.replicatedJobs[0].replicas is no int"),
        ("  replicatedJobs:", "  jobs:", "spec.replicatedJobs is missing"),
    ):
        assert error in jobset_errors(yaml.safe_load(lines.replace(old, new)))


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("local_gpus.sh", []),
        ("local_processes.sh", ["2", "4"]),
        ("slurm.sh", []),
        ("gke_jobset.sh", ["cloud"]),
        ("tpu_vm.sh", ["destroy"]),
    ],
)
def test_a_wrong_call_is_refused(script, arguments):
    done = launch(script, arguments, {})
    assert done.returncode in (1, 2)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_says_what_each_does(flag):
    for path in pathlib.Path("launch").glob("*.sh"):
        done = launch(path.name, [flag], {})
        assert done.returncode == 0, done.stderr
        first, *rest = done.stdout.splitlines()
        assert first.endswith((".", ","))
        assert any(f"launch/{path.name} [--dry_run]" in line for line in rest)
        assert not any(line.startswith(("#", "set -")) for line in rest)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("local_gpus.sh", ["--config=c"]), ("local_processes.sh", ["2", "--", "--config=c"])],
)
def test_without_an_environment_it_says_to_make_one(name, arguments, tmp_path):
    bare = tmp_path / "python"  # a Python without packages
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    for path in (f"{tmp_path}:/usr/bin:/bin", "/usr/bin:/bin"):
        done = launch(name, arguments, {}, path)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "'make .venv/.installed'" in done.stderr


def test_local_gpus_restarts_an_interrupted_run_and_no_mistake(tmp_path):
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\necho run >> {tmp_path}/runs\nexit $CODE\n")
    fake.chmod(0o755)
    for code, runs in ((75, 3), (2, 1), (0, 1)):
        (tmp_path / "runs").unlink(missing_ok=True)
        environ = {"PYTHON": str(fake), "CODE": str(code), "RESTARTS": "2"}
        assert launch("local_gpus.sh", ["--config=c"], environ).returncode == code
        assert (tmp_path / "runs").read_text().count("run") == runs


def test_keep_makes_a_preempted_machine_again_until_the_run_is_finished(tmp_path):
    """A stand-in for gcloud answers in turn: taken away, absent, ready and stopped, finished."""
    (tmp_path / "states").write_text("PREEMPTED\n\nREADY\nREADY\n")
    (tmp_path / "answers").write_text("stopped\nfinished\n")
    fake = tmp_path / "gcloud"
    fake.write_text(
        f"""#!/bin/sh
next() {{ head -n 1 {tmp_path}/$1; sed -i 1d {tmp_path}/$1; }}
case "$*" in
    *describe*) next states ;;
    *pgrep*) next answers ;;
    *) echo "$4 $*" | cut -d' ' -f1,6- >> {tmp_path}/done ;;
esac
"""
    )
    fake.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = launch("tpu_vm.sh", ["keep", "--config=c"], {"POLL": "0", "SPOT": "1"}, path)
    assert done.returncode == 0, done.stderr
    verbs = [line.split()[0] for line in (tmp_path / "done").read_text().splitlines()]
    assert verbs == ["delete", "create", "scp", "ssh", "ssh", "ssh", "delete"]
