#!/usr/bin/env bash
# A SLURM of this machine's own, for tests/test_cluster.py. As root, on Debian or Ubuntu:
#     tests/slurm.sh install        its packages
#     tests/slurm.sh up FOLDER      a controller and two nodes, n1 and n2, all on this machine; prints the SLURM_CONF to export
#     tests/slurm.sh down FOLDER    end its jobs and its processes
set -euo pipefail
folder=$(realpath -m "${2:-/}")
export SLURM_CONF=$folder/slurm.conf

install() {
    type slurmctld slurmd sbatch munged >/dev/null 2>&1 && return
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    apt-get -qq install --yes --no-install-recommends slurmctld slurmd slurm-client munge
}

configure() {
    local host ports
    host=$(hostname -s)
    mapfile -t ports < <(python3 -c '
import socket
kept = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(one.getsockname()[1] for one in kept), sep="\n")')
    cat >"$folder/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool-%n
SlurmctldPidFile=$folder/pid/slurmctld
SlurmdPidFile=$folder/pid/%n
SlurmctldLogFile=$folder/log/slurmctld
SlurmdLogFile=$folder/log/%n
# A container has no cgroups to hand out.
ProctrackType=proctrack/linuxproc
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
# Two nodes of two CPUs and two GPUs on a machine that may have less.
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=n1 NodeAddr=127.0.0.1 NodeHostname=$host Port=${ports[1]} CPUs=2 RealMemory=1000 Gres=gpu:2
NodeName=n2 NodeAddr=127.0.0.1 NodeHostname=$host Port=${ports[2]} CPUs=2 RealMemory=1000 Gres=gpu:2
PartitionName=test Nodes=n1,n2 Default=YES MaxTime=INFINITE
ReturnToService=2
KillWait=5
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
END
    # SLURM takes any character device for a GPU: these are /dev/null.
    for gpu in 0 1; do mknod "$folder/gpu$gpu" c 1 3; done
    echo "NodeName=n[1-2] Name=gpu File=$folder/gpu[0-1]" >"$folder/gres.conf"
    (umask 077 && head -c 128 /dev/urandom >"$folder/munge.key")
}

up() {
    mkdir -p "$folder"/{state,log,pid}
    configure
    munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/pid/munged" \
        --seed-file="$folder/munge.seed" --log-file="$folder/log/munged"
    slurmctld
    slurmd -N n1
    slurmd -N n2
    for _ in $(seq 150); do
        [ "$(sinfo --noheader --Node --states=idle 2>/dev/null | wc -l)" = 2 ] && echo "$SLURM_CONF" && return
        sleep 0.2
    done
    tail -n 3 "$folder"/log/* >&2
    exit 1
}

down() {
    timeout 20 scancel --user="$(id -un)" || true
    for _ in $(seq 50); do [ -n "$(timeout 5 squeue --noheader)" ] || break; sleep 0.2; done
    for name in n1 n2 slurmctld munged; do
        [ -s "$folder/pid/$name" ] || continue
        process=$(cat "$folder/pid/$name")
        kill "$process" || continue
        for _ in $(seq 50); do kill -0 "$process" 2>/dev/null || break; sleep 0.1; done
        kill -KILL "$process" 2>/dev/null || true
    done
}

"$1"
