"""How processes meet through `jax.distributed`, before JAX finds its devices."""

import contextlib
import importlib
import logging
import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import jax

from lion_jax import startup
from lion_jax.cluster import ending
from lion_jax.cluster.launchers import Place
from lion_jax.config import ConfigError

DIRECT = "no_grpc_proxy"  # the variable of hosts that gRPC reaches without a proxy


def client() -> Any:
    """Returns the client of JAX's coordination service."""
    return _runtime().client


@contextlib.contextmanager
def preemption_service() -> Iterator[Any]:
    """Lends JAX's service that agrees on the call to stop at, to one caller alone.

    Its callers number their calls, and all processes stop at one number. Orbax asks it
    too, at every save, and numbers its calls by training steps: after a signal during a
    save, all would agree on a number that the other caller has passed. Without the
    service Orbax takes no notice of signals.
    """
    runtime = _runtime()
    service, runtime.preemption_sync_manager = runtime.preemption_sync_manager, None
    try:
        yield service
    finally:
        runtime.preemption_sync_manager = service


def _runtime() -> Any:
    """Returns what JAX keeps of its processes.

    JAX has no public name for it; Orbax and others use this one.
    """
    return importlib.import_module("jax._src.distributed").global_state


def join(place: Place, *, heartbeat: int, stall: int, patience: int) -> None:
    """Makes this process one of several.

    Args:
      place: From `launchers.place`.
      heartbeat: Seconds without a sign of life after which a process counts as dead.
      stall: Seconds without progress after which the run is given up; 0 for never.
      patience: Seconds to wait for the others.

    Raises:
      ConfigError: If the others are not met.
    """
    host, _, port = place.coordinator.rpartition(":")
    # A proxy, through which gRPC would go, does not know the hosts of a cluster.
    direct = os.environ.get(DIRECT), host
    os.environ[DIRECT] = ",".join(filter(None, direct))
    jax.config.update("jax_check_proxy_envs", False)
    jax.config.update("jax_enable_preemption_service", True)
    until = time.monotonic() + patience
    if place.process:
        _reach(place.coordinator, host.strip("[]"), int(port), until, patience)
    else:
        _require_free(place.coordinator, int(port))
    with _explained(place, patience):
        jax.distributed.initialize(
            place.coordinator,
            place.processes,
            place.process,
            place.local_devices,
            cluster_detection_method="deactivate",
            initialization_timeout=max(1, round(until - time.monotonic())),
            heartbeat_timeout_seconds=heartbeat,
        )
    ending.watch(client(), place, heartbeat, stall)
    if place.process:  # process 0 speaks
        logging.getLogger("lion_jax").setLevel(logging.WARNING)


def _reach(coordinator: str, host: str, port: int, until: float, patience: int) -> None:
    """Waits until process 0 listens."""
    reason = "no answer"
    while time.monotonic() < until:
        try:
            with socket.create_connection((host, port), timeout=5):
                return
        except OSError as error:
            reason = error.strerror or str(error)
            time.sleep(0.2)
    raise ConfigError(
        f"--coordinator={coordinator}: process 0 does not answer there within"
        f" {patience} s ({reason}); start it, or give its host and port."
    )


def _require_free(coordinator: str, port: int) -> None:
    """Refuses a port of this host on which another process listens."""
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
            probe.listen()
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"--coordinator={coordinator}: process 0 cannot listen there ({error});"
                " give another port."
            ) from error


@contextlib.contextmanager
def _explained(place: Place, patience: int) -> Iterator[None]:
    """Gives one line where JAX cannot join the processes: it aborts, in many lines."""
    with tempfile.TemporaryFile() as file, os.fdopen(os.dup(2), "wb") as kept:

        def why(error: object = "") -> str:
            file.seek(0)
            text = f"{error} {file.read().decode(errors='replace')}"
            return _reason(place, patience, " ".join(text.split()))

        try:
            os.dup2(file.fileno(), 2)
            mistake = startup.CALLER_MISTAKE
            with ending.on_abort(lambda: (f"error: {why()}", mistake), kept.fileno()):
                yield
        except Exception as error:  # of several kinds, by version
            raise ConfigError(why(error)) from error
        finally:
            os.dup2(kept.fileno(), 2)


def _reason(place: Place, patience: int, text: str) -> str:
    """Returns in words why JAX could not join the processes."""
    this = f"process {place.process} of {place.processes}, on {socket.gethostname()},"
    last = place.processes - 1
    if "ALREADY_EXISTS" in text:
        return (
            f"{this} was started twice; give each another --process, from 0 to {last}."
        )
    if "DEADLINE_EXCEEDED" in text:
        return (
            f"{this} waited {patience} s for the others; start all of them, each with"
            f" the same --processes and another --process, from 0 to {last}."
        )
    # What JAX prints before it aborts, without where in its code that was.
    said = re.search(r"absl::Status: (.*?)(?: RPC:| ===| \*\*\*|$)", text)
    status = (said.group(1) if said else text)[:200].strip()
    return (
        f"{this} could not join the others at {place.coordinator} ({status}); see what"
        " they say, and start all of them again."
    )
