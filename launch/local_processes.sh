#!/usr/bin/env bash
# Starts N processes of one run on this machine, for tests and for trying out.
#
#   launch/local_processes.sh [--dry_run] N [DEVICES] -- --config=FILE:MODEL --workdir=DIR ...
#
# DEVICES are virtual CPU devices a process (default 4); 0 leaves the devices to JAX: then process I
# sees GPU I alone. Ends when all have ended, with the first exit code that is not 0.
set -euo pipefail

case "${1:-}" in
    -h | --help) sed -n '2,/^set -/{/^set -/d; s/^# \{0,1\}//; p}' "$0"; exit 0 ;;
esac
dry_run=
if [ "${1:-}" = --dry_run ]; then dry_run=1; shift; fi
usage="usage: launch/local_processes.sh [--dry_run] N [DEVICES] -- ARGUMENTS of crnn_jax.main"
count=${1:?$usage}; shift
devices=4
if [ "${1:-}" != -- ]; then devices=${1:?$usage}; shift; fi
if [ "${1:-}" != -- ]; then echo "$usage" >&2; exit 2; fi
shift

# Asked of `python` alone: who sets PYTHON knows what is there.
found='import importlib.util as u, sys; sys.exit(None in map(u.find_spec, ("jax", "crnn_jax")))'
if [ -z "${PYTHON:-}$dry_run" ] && ! python -c "$found" 2>/dev/null; then
    echo "error: expected an environment with crnn_jax, found none in 'python': make one with" \
        "'make .venv/.installed', and set PYTHON=.venv/bin/python" >&2
    exit 2
fi

port=${PORT:-$(( 20000 + RANDOM % 20000 ))}
pids=()
trap 'for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done' INT TERM
for (( i = 0; i < count; i++ )); do
    if [ "$devices" = 0 ]; then
        place=(CUDA_VISIBLE_DEVICES="$i")
    else
        place=(JAX_PLATFORMS=cpu XLA_FLAGS="${XLA_FLAGS:-} --xla_force_host_platform_device_count=$devices")
    fi
    command=(env "${place[@]}" "${PYTHON:-python}" -m crnn_jax.main "$@"
        --coordinator="127.0.0.1:$port" --num_processes="$count" --process_id="$i")
    if [ -n "$dry_run" ]; then
        printf '%q ' "${command[@]}"; echo '&'
    else
        "${command[@]}" &
        pids+=("$!")
    fi
done

code=0
for pid in "${pids[@]}"; do
    result=0
    wait "$pid" || result=$?
    # A trapped signal ends `wait` early: wait again for the process itself.
    while kill -0 "$pid" 2>/dev/null; do wait "$pid" || result=$?; done
    if [ "$code" = 0 ]; then code=$result; fi
done
exit "$code"
