#!/bin/bash
# One run on several nodes, a process per node with all of its GPUs:
#
#   sbatch --nodes=4 launch/slurm_run.sh --config CONFIG --workdir /shared/RUN
#
# The folder is on a disk that all nodes share. The processes find each other by Slurm's
# variables. Three minutes before the time is over they save, and the job is queued again,
# where it resumes. A process per GPU, of eight in a node:
# --ntasks-per-node=8 --gpus-per-node=8 --gpus-per-task=1.
#
#SBATCH --job-name=train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=2
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=USR1@180
#SBATCH --output=train_%j.out

PYTHON=${PYTHON:-python}
cancelled=
trap 'cancelled=yes' TERM # of scancel

# Since Slurm 22.05 srun does not take over what sbatch was given.
if [ -n "${SLURM_CPUS_PER_TASK:-}" ]; then
  export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
fi

srun "$PYTHON" -m lion_jax.train "$@"
status=$?

# A signal ended it, with its state saved: USR1, or TERM where there are several processes.
if [ -z "$cancelled" ] && { [ $status = 138 ] || [ $status = 143 ]; }; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $status
