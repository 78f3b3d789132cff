#!/usr/bin/env bash
# Trains as a JobSet on GKE, one pod a host; a pod that is lost restarts the set, which goes on.
#
#   launch/gke_jobset.sh [--dry_run] tpu|gpu --config=FILE:MODEL --workdir=DIR ...
#
# Settings: IMAGE (with this project installed), NAME, HOSTS, RESTARTS (100), CLAIM: a volume claim
# (ReadWriteMany) mounted at /work, for the workdir and the data. For tpu: ACCELERATOR
# (tpu-v5-lite-podslice), TOPOLOGY (4x4), CHIPS a host (4); for gpu: ACCELERATOR (nvidia-h100-80gb),
# GPUS a host (8). A mistake (exit code 2) ends the set at once.
set -euo pipefail

case "${1:-}" in
    -h | --help) sed -n '2,/^set -/{/^set -/d; s/^# \{0,1\}//; p}' "$0"; exit 0 ;;
esac
dry_run=
if [ "${1:-}" = --dry_run ]; then dry_run=1; shift; fi
usage="usage: launch/gke_jobset.sh [--dry_run] tpu|gpu ARGUMENTS of crnn_jax.main"
kind=${1:?$usage}
shift
name=${NAME:-crnn-jax}

case $kind in
    tpu)
        hosts=${HOSTS:-4} accelerator=${ACCELERATOR:-tpu-v5-lite-podslice}
        selector="cloud.google.com/gke-tpu-accelerator: $accelerator
                cloud.google.com/gke-tpu-topology: ${TOPOLOGY:-4x4}"
        resource="google.com/tpu: ${CHIPS:-4}"
        # GKE tells the hosts of a slice of each other by itself.
        environment='- {name: JAX_PLATFORMS, value: "tpu,cpu"}' ;;
    gpu)
        hosts=${HOSTS:-2} accelerator=${ACCELERATOR:-nvidia-h100-80gb}
        selector="cloud.google.com/gke-accelerator: $accelerator"
        resource="nvidia.com/gpu: ${GPUS:-8}"
        # The number of a process is its JOB_COMPLETION_INDEX.
        environment="- {name: CRNN_JAX_COORDINATOR, value: \"$name-workers-0-0.$name:8476\"}
                - {name: CRNN_JAX_NUM_PROCESSES, value: \"$hosts\"}" ;;
    *) echo "$usage" >&2; exit 2 ;;
esac

command=
for argument in python -m crnn_jax.main "$@"; do
    command+="${command:+, }'${argument//\'/\'\'}'"
done

manifest=$(cat <<MANIFEST
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: $name
spec:
  network:
    enableDNSHostnames: true
  failurePolicy:
    maxRestarts: ${RESTARTS:-100}
    rules:
    - action: FailJobSet
      onJobFailureReasons: [PodFailurePolicy]
  replicatedJobs:
  - name: workers
    replicas: 1
    template:
      spec:
        parallelism: $hosts
        completions: $hosts
        completionMode: Indexed
        backoffLimit: 0
        podFailurePolicy:
          rules:
          - action: FailJob
            onExitCodes:
              containerName: train
              operator: In
              values: [2]
        template:
          spec:
            restartPolicy: Never
            terminationGracePeriodSeconds: 120
            nodeSelector:
                $selector
            containers:
            - name: train
              image: ${IMAGE:?set IMAGE}
              workingDir: /work
              command: [$command]
              env:
                $environment
              resources:
                limits:
                  $resource
              volumeMounts:
              - {name: work, mountPath: /work}
              - {name: shm, mountPath: /dev/shm}
            volumes:
            - name: work
              persistentVolumeClaim:
                claimName: ${CLAIM:-crnn-jax}
            - name: shm
              emptyDir:
                medium: Memory
MANIFEST
)
if [ -n "$dry_run" ]; then
    printf '%s\n' "kubectl apply -f - <<'EOF'" "$manifest" EOF
else
    kubectl apply -f - <<< "$manifest"
fi
