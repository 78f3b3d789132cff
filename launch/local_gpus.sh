#!/usr/bin/env bash
# Trains on all GPUs of this machine: one process, which JAX gives all of them.
#
#   launch/local_gpus.sh [--dry_run] --config=FILE:MODEL --workdir=DIR ...
#
# CUDA_VISIBLE_DEVICES chooses some of them. A run that is interrupted (codes 75, 134, 143) is
# started again, RESTARTS times (default 3); a mistake (code 2) is not.
set -euo pipefail

case "${1:-}" in
    -h | --help) sed -n '2,/^set -/{/^set -/d; s/^# \{0,1\}//; p}' "$0"; exit 0 ;;
esac
dry_run=
if [ "${1:-}" = --dry_run ]; then dry_run=1; shift; fi
if [ $# = 0 ]; then echo "usage: launch/local_gpus.sh [--dry_run] ARGUMENTS of crnn_jax.main" >&2; exit 2; fi

command=(env "XLA_FLAGS=${XLA_FLAGS:---xla_gpu_enable_latency_hiding_scheduler=true}"
    "${PYTHON:-python}" -m crnn_jax.main "$@")
if [ -n "$dry_run" ]; then printf '%q ' "${command[@]}"; echo; exit 0; fi

# Asked of `python` alone: who sets PYTHON knows what is there.
found='import importlib.util as u, sys; sys.exit(None in map(u.find_spec, ("jax", "crnn_jax")))'
if [ -z "${PYTHON:-}" ] && ! python -c "$found" 2>/dev/null; then
    echo "error: expected an environment with crnn_jax, found none in 'python': make one with" \
        "'make .venv/.installed', add JAX for your GPU with '.venv/bin/pip install -e \".[cuda13]\"'," \
        "and set PYTHON=.venv/bin/python" >&2
    exit 2
fi

for (( left = ${RESTARTS:-3}; ; left-- )); do
    code=0
    "${command[@]}" || code=$?
    case $code in
        75 | 134 | 143) if [ "$left" = 0 ]; then exit "$code"; fi ;;
        *) exit "$code" ;;
    esac
done
