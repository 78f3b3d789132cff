#!/usr/bin/env bash
# Everything worth knowing on one GPU, in parts of less than 9 minutes that go on where they were.
#
#   benchmarks/gpu_round.sh speed|gru|table1|race|tune|all|collect [--dry_run]
#
#   speed   the tests that need a GPU, the recurrent layer against PyTorch's in bfloat16 (the whole
#           grid) and the step, what bounds it, MFU, input, dispatch, startup: two calls of < 8 min
#   gru     the recurrent layer alone
#   table1  Table 1 with its full budget        race   seconds to 94% on CIFAR-10
#   tune    the same trials of each row's preset on held-out images, before table1; not in all
#   collect moves the records of speed and gru to results/ and makes the tables of docs/
#
# Needs no network. Images come from $TFDS_DATA_DIR/cifar10; without it the speed part measures on
# random images of that shape, and says so. race runs the record holder too, from a clone of
# KellerJordan/cifar10-airbench in $AIRBENCH, which needs torchvision. Records, logs and summary.tsv go to
# runs/gpu_round/COMMIT/ (so that the tree stays clean); what is done there is not done again: exit code 3 asks for the same
# command again, 1 says that something failed. --dry_run runs the same commands with tiny sizes on
# the CPU and writes no record; what needs PyTorch is printed where PyTorch is missing.
set -uo pipefail
cd "$(dirname "$0")/.."

usage() { echo "error: expected speed, gru, table1, race, tune, all or collect, and --dry_run; found '$*'" >&2; exit 2; }

part=${1:-}
dry_run=
[ "$#" -le 2 ] || usage "$@"
[ "$#" -lt 2 ] || { [ "$2" = --dry_run ] && dry_run=1; } || usage "$@"
case $part in speed | gru | table1 | race | tune | all | collect) ;; *) usage "$@" ;; esac

python=${PYTHON:-}
for name in .venv/bin/python python3.12 python3; do
    [ -n "$python" ] || ! "$name" -c 'import jax' 2>/dev/null || python=$name
done
[ -n "$python" ] || { echo "error: expected a Python with JAX: name one with PYTHON=" >&2; exit 2; }
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
have() { "$python" -c "import importlib.util, sys; sys.exit(not importlib.util.find_spec('$1'))" 2>/dev/null; }

if [ -n "$dry_run" ]; then
    export JAX_PLATFORMS=cpu
    logs=$(mktemp -d)
    trap 'rm -rf "$logs"' EXIT
    crnn=configs/digits.py:rnn,model.hidden_units=8 # no convolution: it compiles in a second
    write=() tiny=(--repeats=1) short=(--seconds=0.05) large=16 small=8 data=()
    results=$logs/results
else
    logs=runs/gpu_round/$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
    mkdir -p "$logs"
    crnn=configs/cifar10.py:crnn
    write=(--write) tiny=() short=() large=1024 small=256 data=()
    results=$logs/results
fi
export BENCHMARK_RESULTS=$results/benchmarks STEADY_SECONDS=0.03
limit=${ROUND_SECONDS:-470} # seconds a call: a part stops before, and goes on with the next call
unfinished=0 failed=0

# run NAME SECONDS COMMAND...: once, with a log, and only if so much time is left.
run() {
    local name=$1 seconds=$2 begin=$SECONDS left=$((limit - SECONDS)) code
    shift 2
    [ ! -e "$logs/$name.done" ] || { echo "== $name: done before"; return; }
    if [ "$left" -lt "$seconds" ]; then
        echo "== $name: left for the next call, $left s are not enough"
        unfinished=1
        return
    fi
    echo "== $name: $*"
    # SIGTERM lets a training save and leave.
    timeout --signal=TERM --kill-after=30 "$left" "$@" >"$logs/$name.log" 2>&1
    code=$?
    tail -n 12 "$logs/$name.log"
    printf '%s\t%s\t%s\t%s\n' "$name" "$code" "$((SECONDS - begin))" "$*" >>"$logs/summary.tsv"
    case $code in
    0) touch "$logs/$name.done" ;;
    124 | 137 | 143) echo "== $name: stopped by the time limit"; unfinished=1 ;;
    *) echo "== $name: failed with $code, see $logs/$name.log"; failed=1 ;;
    esac
}

# with_torch NAME SECONDS COMMAND...: as run; without PyTorch a dry run prints it.
with_torch() {
    if [ -n "$dry_run" ] && ! have torch; then
        echo "== $1: needs PyTorch, not run: ${*:3}"
    else
        run "$@"
    fi
}

stand_in() {
    [ -z "$dry_run" ] && [ ! -d "${TFDS_DATA_DIR:-/nonexistent}/cifar10" ] || return 0
    echo "no \$TFDS_DATA_DIR/cifar10: measuring on random images of that shape"
    run stand_in 20 "$python" benchmarks/stand_in.py "$logs/images"
    data=("--config.data.source=folder:$logs/images")
}

# XLA's autotuning takes minutes for the grid's 120 programs; without it a few compile at once.
gru() {
    local flags='--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false'
    local shapes=() ours=(fused hoisted)
    [ -z "$dry_run" ] || { flags='' ours=(hoisted) shapes=(--steps 4 --units 8 --batch 8); }
    with_torch gru 150 env XLA_FLAGS="$flags" "$python" benchmarks/gru.py --dtype=bfloat16 \
        --peers torch --ours "${ours[@]}" "${shapes[@]}" --repeats=3 "${tiny[@]}" "${write[@]}"
}

speed() {
    stand_in
    [ -n "$dry_run" ] || run tests 120 env TEST_PLATFORM=cuda "$python" -m pytest -q -m gpu tests
    gru
    local study=("$python" -m crnn_jax.studies.bottleneck "--config=$crnn" "--results=$results")
    # Each side compiles for a minute or two.
    local step=$crnn,recipe=adamw
    [ -z "$dry_run" ] || step=configs/cifar10.py:crnn_small,recipe=adamw,model.width=4,model.hidden_units=8
    with_torch step_large 240 env STEADY_SECONDS=0.3 "$python" benchmarks/step.py --config="$step" --batch="$large" \
        "${tiny[@]}" "${write[@]}"
    run bottleneck_large 120 "${study[@]}" "--config.batch_size=$large" "${tiny[@]}" \
        --name="gpu_crnn_$large" "${data[@]}"
    run input 120 "$python" benchmarks/input.py "--config=$crnn" --batch="$large" "${tiny[@]}" \
        "${short[@]}" "${write[@]}" "${data[@]}"
    run startup 40 "$python" benchmarks/startup.py --repeats=1 "${write[@]}" \
        ${dry_run:+"--config=$crnn"}
    run dispatch 120 "$python" benchmarks/dispatch.py "--config=$crnn" --batch="$small" --steps 1 4 \
        16 "${tiny[@]}" "${short[@]}" "${write[@]}" "${data[@]}"
    [ -n "$dry_run" ] || run bottleneck_small 120 "${study[@]}" "--config.batch_size=$small" "${tiny[@]}" \
        --name="gpu_crnn_$small" "${data[@]}"
    # The loop itself: train/mfu in metrics.jsonl, and a trace to open.
    local steps_to_run="400 steps"
    [ -z "$dry_run" ] || steps_to_run="12 steps"
    run train 100 "$python" -m crnn_jax.main "--config=$crnn" --workdir="$logs/train" \
        "--config.batch_size=$large" "--config.duration=$steps_to_run" --profile=3:4 "${data[@]}"
    [ -n "$dry_run" ] || with_torch step_small 240 env STEADY_SECONDS=0.3 "$python" benchmarks/step.py --config="$step" --batch="$small" \
        "${tiny[@]}" "${write[@]}"
}

collect() {
    [ -z "$dry_run" ] || return 0
    [ -d "$results" ] || { echo "error: no records in $results: run speed first" >&2; exit 2; }
    mkdir -p results/benchmarks
    for file in "$results"/benchmarks/*.jsonl; do
        [ ! -e "$file" ] || cat "$file" >>"results/benchmarks/$(basename "$file")"
    done
    for file in "$results"/*.json; do
        [ ! -e "$file" ] || cp "$file" results/
    done
    mv "$results" "$results-collected-$(date +%s)"
    "$python" -m crnn_jax.report.tables docs/performance.md
}

# study NAME FLAGS...: a long study, which resumes what a call before has left.
study() {
    local name=$1
    shift
    if ! have "crnn_jax.studies.$name"; then
        echo "== $name: crnn_jax/studies/$name.py is not there"
        [ -n "$dry_run" ] || failed=1
    elif [ -n "$dry_run" ]; then
        run "$name" 10 "$python" -m "crnn_jax.studies.$name" --help
    else
        run "$name" 60 "$python" -m "crnn_jax.studies.$name" "$@"
    fi
}

table1() { study table1 --dataset=cifar10 --budget=full --seeds=5; }
# A quarter of the epochs, the same four learning rates for each row.
tune() {
    local row command
    for row in cnn rnn rnn_deep lrcn tsn crnn; do
        command=("$python" -m crnn_jax.studies.tune "--config=configs/cifar10.py:$row"
            --config.duration="10 epochs" --config.optim.learning_rate=0.1
            --trial=optim.learning_rate={0.05,0.2,0.4})
        [ -z "$dry_run" ] || command=("$python" -m crnn_jax.studies.tune --help)
        run "tune_$row" 60 "${command[@]}"
    done
}
race() {
    study race --target=0.94
    if [ -n "${AIRBENCH:-}" ]; then
        with_torch airbench 90 "$python" benchmarks/airbench.py --clone="$AIRBENCH" "${write[@]}"
    else
        echo "== airbench: name a clone of KellerJordan/cifar10-airbench with AIRBENCH= to run it"
    fi
}

if [ "$part" = all ]; then
    for each in speed table1 race; do "$each"; done # collect: once all parts are done
else
    "$part"
fi
if [ -s "$logs/summary.tsv" ]; then
    echo "== name, exit code, seconds" && cut -f 1-3 "$logs/summary.tsv"
fi
[ "$failed" = 0 ] || exit 1
[ "$unfinished" = 0 ] || { echo "not finished: the same command again goes on"; exit 3; }
