#!/bin/bash
# A Slurm of one node, without systemd, as root on Debian:
#
#   apt-get install -y slurm-wlm munge
#   results/slurm/one_node.sh start /tmp/one_node
#   export SLURM_CONF=/tmp/one_node/slurm.conf
#   results/slurm/one_node.sh stop /tmp/one_node
#
# The node states 16 processors and 2 GPUs, so that launch/slurm_array.sh runs as it is.
set -e
place=$2
node=$(hostname -s)

start() {
  mkdir -p "$place"/{spool,state}
  mkdir -m 700 "$place/munge"
  (umask 077 && head -c 1024 /dev/urandom > "$place/munge/key")
  munged --force --key-file="$place/munge/key" --socket="$place/munge/socket" \
    --pid-file="$place/munge/pid" --log-file="$place/munge/log" \
    --seed-file="$place/munge/seed"
  echo "Name=gpu File=/dev/tty[0-1]" > "$place/gres.conf"
  cat > "$place/slurm.conf" <<END
ClusterName=one
SlurmctldHost=$node(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$place/munge/socket
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/spool
SlurmctldPidFile=$place/slurmctld.pid
SlurmdPidFile=$place/slurmd.pid
SlurmctldLogFile=$place/slurmctld.log
SlurmdLogFile=$place/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=$node NodeAddr=127.0.0.1 CPUs=16 Gres=gpu:2
PartitionName=all Nodes=$node Default=YES State=UP
END
  slurmctld -c -f "$place/slurm.conf"
  slurmd -f "$place/slurm.conf"
}

stop() {
  kill "$(cat "$place/slurmd.pid")" "$(cat "$place/slurmctld.pid")"
  kill "$(cat "$place/munge/pid")"
}

"$1"
