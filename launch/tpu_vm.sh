#!/usr/bin/env bash
# Trains on a Cloud TPU VM, one host or a pod: the same commands, since each goes to all hosts.
#
#   launch/tpu_vm.sh [--dry_run] create|queue|copy|install|run|logs|delete
#   launch/tpu_vm.sh [--dry_run] run --config=FILE:MODEL --workdir=DIR ...
#   launch/tpu_vm.sh [--dry_run] keep --config=FILE:MODEL --workdir=DIR ...
#
# create makes the machine, queue asks for it in a queue (a queued resource); copy sends this tree,
# install makes its environment, run trains in the background, logs follows the first host, delete
# gives the machine back. keep does all of it, for a spot machine: it makes the machine again and
# goes on from the last checkpoint whenever it was taken away, until the run is finished.
#
# Settings: NAME, ZONE, TYPE (v5litepod-8, v5litepod-16, v5p-256, ...), VERSION (of the TPU
# software), SPOT=1, PROJECT (default: gcloud's), BUCKET: mounted at ~/bucket on every host. The
# hosts of a pod share the workdir: put it there, --workdir=bucket/runs/a.
set -euo pipefail

case "${1:-}" in
    -h | --help) sed -n '2,/^set -/{/^set -/d; s/^# \{0,1\}//; p}' "$0"; exit 0 ;;
esac
dry_run=
if [ "${1:-}" = --dry_run ]; then dry_run=1; shift; fi
action=${1:?usage: launch/tpu_vm.sh [--dry_run] create|queue|copy|install|run|keep|logs|delete}
shift

name=${NAME:-crnn-jax}
type=${TYPE:-v5litepod-8}
version=${VERSION:-v2-alpha-tpuv5-lite}
where=(--zone="${ZONE:?set ZONE, such as us-west4-a}")
if [ -n "${PROJECT:-}" ]; then where+=(--project="$PROJECT"); fi
spot=()
if [ "${SPOT:-}" = 1 ]; then spot=(--spot); fi

do_it() {
    if [ -n "$dry_run" ]; then printf '%q ' "$@"; echo; else "$@"; fi
}
on_all() {
    do_it gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker=all --command="$1"
}
create() {
    do_it gcloud compute tpus tpu-vm create "$name" "${where[@]}" \
        --accelerator-type="$type" --version="$version" "${spot[@]}"
}
queue() {
    do_it gcloud compute tpus queued-resources create "$name" "${where[@]}" --node-id="$name" \
        --accelerator-type="$type" --runtime-version="$version" "${spot[@]}"
}
copy() {
    do_it git archive --format=tar.gz --prefix=crnn_jax/ --output=/tmp/crnn_jax.tar.gz HEAD
    do_it gcloud compute tpus tpu-vm scp /tmp/crnn_jax.tar.gz "$name:" "${where[@]}" --worker=all
    on_all "tar -xzf crnn_jax.tar.gz"
}
install() {
    on_all "cd crnn_jax && python3 -m venv .venv && .venv/bin/pip install -q -e '.[tpu]' -c constraints.txt"
    if [ -n "${BUCKET:-}" ]; then
        on_all "mkdir -p crnn_jax/bucket && (mountpoint -q crnn_jax/bucket || gcsfuse --implicit-dirs $BUCKET crnn_jax/bucket)"
    fi
}
run() {
    local arguments
    printf -v arguments '%q ' "$@"
    on_all "cd crnn_jax && nohup .venv/bin/python -m crnn_jax.main --coordinator=auto ${arguments}> train.log 2>&1 < /dev/null & sleep 1"
}
logs() {
    do_it gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker=0 \
        --command="tail -n 50 -f crnn_jax/train.log"
}
delete() {
    do_it gcloud compute tpus tpu-vm delete "$name" "${where[@]}" --quiet
}
state() {
    gcloud compute tpus tpu-vm describe "$name" "${where[@]}" --format='value(state)' 2>/dev/null || true
}
# Prints "training", "finished", "failed" (a mistake: exit code 2) or "stopped".
progress() {
    gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker=0 --command="
        if pgrep -f crnn_jax.main > /dev/null; then echo training
        elif tail -n 1 crnn_jax/train.log | grep -q ' accuracy '; then echo finished
        elif grep -q '^error: ' crnn_jax/train.log; then echo failed
        else echo stopped; fi" 2>/dev/null || echo lost
}
keep() {
    if [ -n "$dry_run" ]; then create; copy; install; run "$@"; logs; delete; return; fi
    while :; do
        case $(state) in
            READY)
                case $(progress) in
                    training) ;;
                    finished) delete; return ;;
                    failed) echo "the run ended with a mistake: see launch/tpu_vm.sh logs" >&2; exit 2 ;;
                    stopped | lost) copy; install; run "$@" ;;
                esac ;;
            CREATING | STARTING | RESTARTING | REPAIRING) ;;
            "") create || true ;;
            *) delete || true ;;  # PREEMPTED, TERMINATED: nothing on it is left to use
        esac
        sleep "${POLL:-60}"
    done
}

case $action in
    create | queue | copy | install | logs | delete) "$action" ;;
    run | keep) "$action" "$@" ;;
    *) echo "expected create, queue, copy, install, run, keep, logs or delete, found $action" >&2; exit 2 ;;
esac
