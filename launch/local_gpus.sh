#!/usr/bin/env bash
# Trains on all GPUs of this machine: one process, which JAX gives all of them.
#
#   launch/local_gpus.sh [--dry_run] --config=FILE:MODEL --workdir=DIR ...
#
# CUDA_VISIBLE_DEVICES chooses some of them. A run that is interrupted (codes 75, 134, 143) is
# started again, RESTARTS times (default 3); a mistake (code 2) is not.
set -euo pipefail

dry_run=
if [ "${1:-}" = --dry_run ]; then dry_run=1; shift; fi
if [ $# = 0 ]; then echo "usage: launch/local_gpus.sh [--dry_run] ARGUMENTS of crnn_jax.main" >&2; exit 2; fi

command=(env "XLA_FLAGS=${XLA_FLAGS:---xla_gpu_enable_latency_hiding_scheduler=true}"
    "${PYTHON:-python}" -m crnn_jax.main "$@")
if [ -n "$dry_run" ]; then printf '%q ' "${command[@]}"; echo; exit 0; fi

for (( left = ${RESTARTS:-3}; ; left-- )); do
    code=0
    "${command[@]}" || code=$?
    case $code in
        75 | 134 | 143) if [ "$left" = 0 ]; then exit "$code"; fi ;;
        *) exit "$code" ;;
    esac
done
