"""Which process this is, of how many: by flags, by variables, or by the launcher."""

import dataclasses
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

from lion_jax.config import ConfigError

ALONE = "off"  # as --coordinator: a run of this process only
# Variables that stand for the flags, as JAX names its own.
COORDINATOR, PROCESSES = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES"
PROCESS = "JAX_PROCESS_ID"
DRIVER = Path("/proc/driver/nvidia/gpus")  # with an entry for each GPU
FIRST_PORT, PORTS = 61440, 4096  # that nobody registers; a job's number chooses one


@dataclasses.dataclass(frozen=True)
class Place:
    """This process among those of a run."""

    coordinator: str  # host:port, where process 0 listens
    processes: int
    process: int
    local_devices: tuple[int, ...] | None = None  # of this host's GPUs; None for all


def place(
    coordinator: str, processes: int, process: int, environ: Mapping[str, str]
) -> Place | None:
    """Returns this process's place among several, or None if it is alone.

    What the flags leave open the variables say, and then the launcher: Slurm (in a
    step, not in a batch script), Open MPI, or an indexed job of Kubernetes.

    Args:
      coordinator: Of the flag; empty if it was not given.
      processes: Likewise; 0 if it was not given.
      process: Likewise; -1 if it was not given.
      environ: The process's variables.

    Raises:
      ConfigError: If some of it is unknown, or wrong.
    """
    if coordinator == ALONE:
        return None
    found = _slurm(environ) or _open_mpi(environ) or _kubernetes(environ)
    asked = coordinator or environ.get(COORDINATOR, "")
    count = processes or _number(environ, PROCESSES, 0)
    rank = process if process >= 0 else _number(environ, PROCESS, -1)
    if not asked and not processes and process < 0 and found is None:
        return None
    found = found or Place("", 0, -1)
    whole = Place(
        asked or found.coordinator,
        count or found.processes,
        rank if rank >= 0 else found.process,
        found.local_devices,
    )
    _check(whole)
    return whole if whole.processes > 1 else None


def _check(place: Place) -> None:
    wanted = "all processes need the same --coordinator HOST:PORT of process 0"
    if not place.processes:
        raise ConfigError(
            f"--coordinator={place.coordinator}: of how many processes? {wanted},"
            " --processes, and a --process of their own; --coordinator off is a run of"
            " one."
        )
    if place.processes == 1:
        return
    if not place.coordinator:
        raise ConfigError(
            f"--processes={place.processes}: --coordinator is missing; {wanted}, such"
            " as --coordinator node1:8476; off makes a run of this process only."
        )
    host = re.fullmatch(r"(\[[\da-fA-F:.%\w]+\]|[^:\s]+):(\d{1,5})", place.coordinator)
    if not host or not 0 < int(host[2]) < 2**16:
        raise ConfigError(
            f"--coordinator={place.coordinator}, but it must be HOST:PORT of process 0,"
            " a port of 1 to 65535; give such as --coordinator node1:8476."
        )
    if not 0 <= place.process < place.processes:
        given = "missing" if place.process < 0 else f"{place.process}"
        raise ConfigError(
            f"--process is {given}, but each of {place.processes} processes needs"
            f" another, 0 to {place.processes - 1}; give --process 0 to one of them."
        )


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal():
        raise ConfigError(
            f"{name}={text!r}, but it must be a number; unset it, or set it to one."
        )
    return int(text)


def _slurm(environ: Mapping[str, str]) -> Place | None:
    """Returns the place in a step that `srun` started.

    A batch script and a shell on a node have some of these variables too, but are no
    process of a step.
    """
    if "SLURM_STEP_ID" not in environ or "SLURM_PROCID" not in environ:
        return None
    processes = _number(environ, "SLURM_STEP_NUM_TASKS", 1)
    nodes = environ.get("SLURM_STEP_NODELIST", "")
    if processes < 2 or not nodes:
        return None
    first = re.sub(r"\[(\w+).*", r"\1", nodes).partition(",")[0]
    job = f"{environ.get('SLURM_JOB_ID')}.{environ['SLURM_STEP_ID']}"
    seen = _visible(environ)
    # Where Slurm binds GPUs to tasks (--gpus-per-task, --gpu-bind), each sees its own.
    bound = seen < _number(environ, "SLURM_GPUS_ON_NODE", seen)
    tasks = 1 if bound else _tasks(environ, processes)
    return Place(
        f"{first}:{_port(job)}",
        processes,
        _number(environ, "SLURM_PROCID", -1),
        _share(seen, tasks, _number(environ, "SLURM_LOCALID", 0)),
    )


def _tasks(environ: Mapping[str, str], processes: int) -> int:
    """Returns how many tasks of a step are on this node, as of `2(x3),1`."""
    counts = list[int]()
    for part in environ.get("SLURM_STEP_TASKS_PER_NODE", "").split(","):
        if found := re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip()):
            counts += [int(found[1])] * int(found[2] or 1)
    node = _number(environ, "SLURM_NODEID", 0)
    if node < len(counts):
        return counts[node]
    return processes // max(_number(environ, "SLURM_STEP_NUM_NODES", 1), 1)


def _visible(environ: Mapping[str, str]) -> int:
    """Returns how many GPUs a process may use, as far as its variables say."""
    return len([x for x in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if x])


def _share(seen: int, processes: int, own: int) -> tuple[int, ...] | None:
    """Returns a process's share of GPUs that all of its host see; None for all.

    Args:
      seen: How many GPUs.
      processes: How many processes of the run the host has.
      own: Which of them this is.
    """
    if processes < 2 or seen < processes:
        return None
    each = seen // processes
    return tuple(range(own * each, (own + 1) * each))


def _open_mpi(environ: Mapping[str, str]) -> Place | None:
    processes = _number(environ, "OMPI_COMM_WORLD_SIZE", 1)
    if processes < 2:
        return None
    coordinator, here = "", _number(environ, "OMPI_COMM_WORLD_LOCAL_SIZE", 1)
    # All on one host; of several, none of the variables names that of process 0.
    if here == processes:
        job = environ.get("PMIX_NAMESPACE") or environ.get("OMPI_MCA_orte_hnp_uri", "")
        coordinator = f"127.0.0.1:{_port(job)}"
    own = _number(environ, "OMPI_COMM_WORLD_LOCAL_RANK", 0)
    return Place(
        coordinator,
        processes,
        _number(environ, "OMPI_COMM_WORLD_RANK", -1),
        _share(_visible(environ) or _gpus_of_host(), here, own),
    )


def _gpus_of_host() -> int:
    """Returns how many GPUs NVIDIA's driver has on Linux, 0 without it."""
    try:
        return len(list(DRIVER.iterdir()))
    except OSError:
        return 0


def _kubernetes(environ: Mapping[str, str]) -> Place | None:
    """Returns the place in an indexed job whose manifest says where process 0 is."""
    if COORDINATOR not in environ or "JOB_COMPLETION_INDEX" not in environ:
        return None
    return Place(
        environ[COORDINATOR],
        _number(environ, PROCESSES, 0),
        _number(environ, "JOB_COMPLETION_INDEX", -1),
    )


def _port(job: str) -> int:
    return FIRST_PORT + zlib.crc32(job.encode()) % PORTS
