#!/usr/bin/env bash
# Trains as a SLURM job, one process a GPU; a preempted job is queued again and goes on.
#
#   launch/slurm.sh [--dry_run] --config=FILE:MODEL --workdir=DIR ...
#
# Settings: NODES (1), GPUS a node (8), HOURS (24), PARTITION, ACCOUNT, NAME. The workdir lies on a
# file system that all nodes share.
set -euo pipefail

case "${1:-}" in
    -h | --help) sed -n '2,/^set -/{/^set -/d; s/^# \{0,1\}//; p}' "$0"; exit 0 ;;
esac
dry_run=
if [ "${1:-}" = --dry_run ]; then dry_run=1; shift; fi
if [ $# = 0 ]; then echo "usage: launch/slurm.sh [--dry_run] ARGUMENTS of crnn_jax.main" >&2; exit 2; fi

gpus=${GPUS:-8}
printf -v arguments '%q ' "$@"
options=
if [ -n "${PARTITION:-}" ]; then options+="#SBATCH --partition=$PARTITION"$'\n'; fi
if [ -n "${ACCOUNT:-}" ]; then options+="#SBATCH --account=$ACCOUNT"$'\n'; fi

# --signal: the processes get SIGTERM two minutes before the time is up, and save. Codes 75, 134 and
# 143 say that the run is incomplete through no fault of its own.
script=$(cat <<SCRIPT
#!/usr/bin/env bash
#SBATCH --job-name=${NAME:-crnn_jax}
#SBATCH --nodes=${NODES:-1}
#SBATCH --ntasks-per-node=$gpus
#SBATCH --gpus-per-node=$gpus
#SBATCH --time=${HOURS:-24}:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
${options}
code=0
srun --kill-on-bad-exit=1 ${PYTHON:-python} -m crnn_jax.main ${arguments}|| code=\$?
case \$code in
    75 | 134 | 143) scontrol requeue "\$SLURM_JOB_ID" ;;
esac
exit "\$code"
SCRIPT
)
if [ -n "$dry_run" ]; then
    printf '%s\n' "sbatch <<'EOF'" "$script" EOF
else
    sbatch <<< "$script"
fi
