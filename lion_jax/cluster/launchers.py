"""Which process this is, of how many: by flags, by variables, or by the launcher."""

import dataclasses
import re
import zlib
from collections.abc import Mapping

from lion_jax.config import ConfigError

ALONE = "off"  # as --coordinator: a run of this process only
# Variables that stand for the flags, as JAX names its own.
COORDINATOR, PROCESSES = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES"
PROCESS = "JAX_PROCESS_ID"
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
    return Place(
        f"{first}:{_port(job)}",
        processes,
        _number(environ, "SLURM_PROCID", -1),
        _share(environ, processes),
    )


def _share(environ: Mapping[str, str], processes: int) -> tuple[int, ...] | None:
    """Returns a task's share of GPUs that all tasks of its node see; None for all.

    Where Slurm binds GPUs to tasks (--gpus-per-task, --gpu-bind), a task sees its own.
    """
    visible = environ.get("CUDA_VISIBLE_DEVICES", "")
    seen = [x for x in visible.split(",") if x]
    nodes = _number(environ, "SLURM_STEP_NUM_NODES", 1)
    tasks = processes // nodes
    on_node = _number(environ, "SLURM_GPUS_ON_NODE", len(seen))
    if tasks < 2 or len(seen) < tasks or len(seen) < on_node:
        return None
    each = len(seen) // tasks
    first = _number(environ, "SLURM_LOCALID", 0) * each
    return tuple(range(first, first + each))


def _open_mpi(environ: Mapping[str, str]) -> Place | None:
    processes = _number(environ, "OMPI_COMM_WORLD_SIZE", 1)
    if processes < 2:
        return None
    coordinator = ""
    # All on one host; of several, none of the variables names that of process 0.
    if environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") == str(processes):
        job = environ.get("PMIX_NAMESPACE") or environ.get("OMPI_MCA_orte_hnp_uri", "")
        coordinator = f"127.0.0.1:{_port(job)}"
    return Place(coordinator, processes, _number(environ, "OMPI_COMM_WORLD_RANK", -1))


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
