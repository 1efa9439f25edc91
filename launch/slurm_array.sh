#!/bin/bash
# A comparison divided by a Slurm array, a task per shard, a GPU per task:
#
#   sbatch launch/slurm_array.sh --configs A.py,B.py --seeds 25 --out /shared/DIR
#
# Every task has the same words and the same folder, on a disk that all nodes share.
# A task that is requeued, or started again alone (sbatch --array=3 ...), goes on where
# it stopped. With another number of shards set both: SHARDS=16 sbatch --array=0-15 ...
#
#SBATCH --job-name=compare
#SBATCH --array=0-7
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-task=1
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120
#SBATCH --output=compare_%A_%a.out

# Not SLURM_ARRAY_TASK_COUNT: that of --array=3,5 is 2, and shards of 2 are other runs
# than shards of 8.
SHARDS=${SHARDS:-8}
PYTHON=${PYTHON:-python}

# `exec`, so that Slurm's TERM, two minutes before the time is over, reaches the
# command, which saves its state and ends with status 143.
exec "$PYTHON" -m lion_jax.compare run "$@" --shard "$SLURM_ARRAY_TASK_ID/$SHARDS"
