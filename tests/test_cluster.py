"""Several processes that make one run, over gloo: equal to one, and ended together."""

import contextlib
import dataclasses
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import processes
import pytest
import small_runs

from lion_jax import cluster, train
from lion_jax.cluster import ending, joining, launchers
from lion_jax.config import ConfigError
from lion_jax.flags import CommandLine
from lion_jax.training import agreement, run_folder, sharding, task

HEARTBEAT = 10
EPOCH = "loop._end_epoch"  # called once at the end of each epoch
THIS = socket.gethostname()
LAUNCH = Path(__file__).parents[1] / "launch"
FLAGS = {
    "epochs": 2,
    "batch_size": 64,
    "eval_batch_size": 64,
    "image_size": 14,
    "data.name": "fashion_mnist_sample",
    "model.name": small_runs.STEM,
    "augment.flip": "true",
    "early_stopping.patience": 0,
    "optimizer.learning_rate": 1e-3,
    "optimizer.weight_decay": 0.1,
}
CONFIG = """from lion_jax.config import Config


def get_config():
    return Config()
"""


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Makes a run of several processes in a folder, each with flags of its own.

    Of several devices in all, each process has its share.
    """
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "config.py").write_text(CONFIG)
    words = ["--config=config.py", "--compilation_cache=off"]
    words += [f"--config.{name}={value}" for name, value in FLAGS.items()]
    with processes.server() as run_all:

        def start(workdir, count, *more, fates=(), own=(), environ=(), host=""):
            address = f"{host or '127.0.0.1'}:{processes.free_port()}"
            jobs = []
            for number in range(count):
                line = [*words, f"--workdir={workdir}", *more]
                if count > 1:
                    line += [f"--coordinator={address}", f"--processes={count}"]
                    line += [f"--process={number}", f"--heartbeat={HEARTBEAT}"]
                line += dict(own).get(number, [])
                jobs.append((dict(fates).get(number, []), dict(environ), line))
            statuses, texts, seconds = run_all(folder, *jobs, devices=4 // count)
            return folder / workdir, statuses, texts, seconds

        yield start


@pytest.fixture(scope="module")
def alone(start):
    """The losses of one process that has all devices."""
    folder, statuses, texts, _ = start("alone", 1)
    assert statuses == [0], texts
    return losses(folder)


def losses(folder):
    names = "train_loss", "val_loss"
    return [row[name] for row in small_runs.records(folder) for name in names]


def errors(text):
    """The lines that are said to the user; JAX's runtime may print some of its own."""
    return [line for line in text.splitlines() if line.startswith("error: ")]


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_make_the_run_of_one(start, alone, count):
    folder, statuses, texts, _ = start(f"of_{count}", count)
    assert statuses == [0] * count, texts
    np.testing.assert_allclose(losses(folder), alone, rtol=0, atol=1e-5)
    assert "4 x cpu" in texts[0]
    assert "epoch" not in texts[1]  # process 0 speaks


@pytest.mark.slow
def test_devices_of_several_processes_vote_as_those_of_one(start):
    """Also where one was signalled during a save, as Orbax notices too, and where one
    process goes on with their momenta.
    """
    vote = "--config.mesh.vote=majority"
    folder, statuses, texts, _ = start("voters", 1, vote)
    assert statuses == [0], texts
    expected = losses(folder)
    fates = {0: [("terminated", "manifest.write", 1)]}
    folder, statuses, texts, _ = start("voters_of_2", 2, vote, fates=fates)
    assert statuses == [143, 143], texts
    folder, statuses, texts, _ = start("voters_of_2", 1, vote)
    assert statuses == [0], texts
    assert "resumed at step" in texts[0]
    assert "their mean" not in texts[0]
    np.testing.assert_allclose(losses(folder), expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_signal_to_one_saves_on_all_and_any_number_resumes(start, alone):
    options = "--config.mesh.mode=fsdp", "--config.data.placement=host"
    fates = {1: [("terminated", EPOCH, 1)]}
    folder, statuses, texts, _ = start("lr[1e-3]", 2, *options, fates=fates)
    assert statuses == [143, 143], texts
    assert "rerun the same command to resume" in texts[0]
    assert len(small_runs.records(folder)) < 2
    folder, statuses, texts, _ = start("lr[1e-3]", 1)
    assert statuses == [0], texts
    assert "resumed at step" in texts[0]
    np.testing.assert_allclose(losses(folder), alone, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_one_that_is_killed_ends_all_and_the_same_command_resumes(start, alone, number):
    folder, statuses, texts, seconds = start(
        f"killed_{number}", 2, fates={number: [("killed", EPOCH, 2)]}
    )
    assert statuses[number] == -9
    assert statuses[1 - number] == 1, texts
    assert max(seconds) - min(seconds) < HEARTBEAT + 10
    reason = "another process died or cannot be reached; rerun the same command"
    other = f"error: process {1 - number} on {THIS}: {reason} to resume."
    assert errors(texts[1 - number]) == [other]
    if number:
        shutil.rmtree(folder / run_folder.CHECKSUMS)  # as of a copy without them
        folder, statuses, texts, _ = start(f"killed_{number}", 2)
        assert statuses == [0, 0], texts
        np.testing.assert_allclose(losses(folder), alone, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_an_error_of_one_ends_all_and_is_said(start, number):
    _, statuses, texts, seconds = start(
        f"raises_{number}", 2, fates={number: [("raises", EPOCH, 1)]}
    )
    assert statuses == [1, 1], texts
    assert max(seconds) - min(seconds) < HEARTBEAT + 5
    said = f"error: process {number} on {THIS}: ValueError: out of luck"
    assert errors(texts[number]) == [said]
    # Process 0 speaks for the others too.
    assert errors(texts[1 - number]) == ([said] if number else [])
    assert "Traceback" in texts[number]
    assert "Traceback" not in texts[1 - number]


@pytest.mark.slow
def test_one_that_hangs_is_given_up(start):
    fates = {1: [("hangs", EPOCH, 2)]}
    _, statuses, texts, seconds = start("hangs", 2, "--stall_timeout=4", fates=fates)
    assert statuses == [1, 1], texts
    assert max(seconds) < 60
    assert "no progress for 4 s (--stall_timeout); rerun the same" in "".join(texts)


@pytest.mark.slow
def test_different_configurations_are_refused_and_a_proxy_is_passed(start):
    folder, statuses, texts, _ = start(
        "apart",
        2,
        own={1: ["--config.seed=3"]},
        environ=dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9"),
        host=THIS,  # gRPC asks no proxy for 127.0.0.1
    )
    assert statuses == [2, 2], texts
    line = (
        f"error: process 1 on {THIS} has another configuration than process 0: seed"
        " (0 there, 3 here); start all by one command, or each alone with --coordinator"
        " off."
    )
    assert [errors(text) for text in texts] == [[line], [line]]
    assert not folder.exists()


@pytest.mark.slow
def test_folders_that_are_not_shared_are_refused(start):
    fates = {1: [("impatient", "run_folder.check", 1)]}
    own = {1: ["--workdir=elsewhere"]}
    folder, statuses, texts, _ = start("here", 2, own=own, fates=fates)
    assert statuses == [2, 2], texts
    line = (
        f"error: elsewhere is another folder for process 1 on {THIS} than for process"
        " 0; give a --workdir on a disk that all processes share."
    )
    assert [errors(text) for text in texts] == [[line], [line]]
    assert not (folder / run_folder.CHECKPOINTS).exists()


@pytest.mark.slow
def test_a_number_given_twice_is_refused(start):
    """JAX tells the first that comes, once the second does.

    Ten seconds are for that: they do not meet where process 0 comes after the others
    have given up, which then say that it does not answer.
    """
    own = {2: ["--process=1"]}
    _, statuses, texts, _ = start("twice", 3, "--join_timeout=10", own=own)
    assert statuses == [2, 2, 2], texts
    assert [len(text.splitlines()) for text in texts] == [1, 1, 1]
    said = sorted(texts[1:], key=len)
    assert "was started twice; give each another --process, from 0 to 2." in said[0]
    # The other's end may also come first.
    waited = "waited 10 s for the others; start all of them, each with" in said[1]
    assert waited or "could not join the others at" in said[1]


@pytest.mark.parametrize("end", ["RPC: /xla.x.Y/RegisterTask", "=== Trace: ===", ""])
def test_what_jax_says_of_another_reason_is_given_without_its_stack(end):
    text = f"""None F1129 client.h:86] Terminating process because the service detected
        fatal errors. absl::Status: UNAVAILABLE: Socket closed {end}
        *** Check failure stack trace: *** @ 0x7f66eaaf8174 absl::SendToLog()"""
    reason = joining._reason(launchers.Place("a:1", 2, 1), 5, " ".join(text.split()))
    assert reason == (
        f"process 1 of 2, on {THIS}, could not join the others at a:1 (UNAVAILABLE:"
        " Socket closed); see what they say, and start all of them again."
    )


@pytest.mark.slow
def test_a_coordinator_that_is_not_there_is_refused(start):
    own = {0: ["--process=1"]}
    _, statuses, texts, _ = start("nobody", 2, "--join_timeout=2", own=own)
    assert statuses == [2, 2], texts
    assert "process 0 does not answer there within 2 s (Connection ref" in texts[0]
    assert len(texts[0].splitlines()) == 1


@pytest.mark.slow
def test_a_port_that_is_taken_is_refused(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        flags = f"--coordinator=127.0.0.1:{port}", "--processes=2", "--process=0"
        _, statuses, texts, _ = start("taken", 1, *flags)
    assert statuses == [2], texts
    assert "process 0 cannot listen there" in texts[0]
    assert texts[0].strip().endswith("give another port.")


STEP = {
    "SLURM_JOB_ID": "17",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_GPUS_ON_NODE": "8",
}
MPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu7", "gpu7"),
        ("gpu7,cpu1", "gpu7"),
        ("node[003-004]", "node003"),
        ("a-[03,7-9],b2", "a-03"),
    ],
)
def test_a_step_of_slurm_knows_its_place(nodes, first):
    found = launchers.place("", 0, -1, STEP | {"SLURM_STEP_NODELIST": nodes})
    host, port = found.coordinator.split(":")
    assert host == first
    assert 61440 <= int(port) < 65536
    assert (found.processes, found.process) == (8, 5)


@pytest.mark.parametrize(
    ("visible", "devices"),
    [
        ("0,1,2,3,4,5,6,7", (2, 3)),  # all tasks of the node see all GPUs
        ("2,3", None),  # bound to the task
        ("", None),  # no GPUs
    ],
)
def test_tasks_of_one_node_divide_the_gpus_that_all_see(visible, devices):
    environ = STEP | {"SLURM_STEP_NODELIST": "a[1-2]", "CUDA_VISIBLE_DEVICES": visible}
    assert launchers.place("", 0, -1, environ).local_devices == devices


@pytest.mark.parametrize(
    ("tasks", "node", "local", "devices"),
    [
        ("3,2", 0, 2, (2,)),
        ("3,2", 1, 1, (2, 3)),
        ("2(x2),1", 1, 0, (0, 1)),
        ("2(x2),1", 2, 0, None),  # alone on its node
    ],
)
def test_nodes_may_have_different_numbers_of_tasks(tasks, node, local, devices):
    environ = STEP | {
        "SLURM_STEP_NODELIST": "a[1-3]",
        "SLURM_STEP_NUM_TASKS": "5",
        "SLURM_PROCID": "4",
        "SLURM_STEP_NUM_NODES": str(tasks.count(",") + 1 + tasks.count("(x2)")),
        "SLURM_STEP_TASKS_PER_NODE": tasks,
        "SLURM_NODEID": str(node),
        "SLURM_LOCALID": str(local),
        "SLURM_GPUS_ON_NODE": "4",
        "CUDA_VISIBLE_DEVICES": "0,1,2,3",
    }
    assert launchers.place("", 0, -1, environ).local_devices == devices


@pytest.mark.parametrize(
    ("visible", "gpus", "devices"),
    [("0,1,2,3", 0, (3,)), ("", 8, (6, 7)), ("5", 8, None), ("", 0, None)],
)
def test_ranks_of_a_host_divide_its_gpus(monkeypatch, tmp_path, visible, gpus, devices):
    for gpu in range(gpus):
        (tmp_path / str(gpu)).mkdir()
    monkeypatch.setattr(launchers, "DRIVER", tmp_path)
    local = {"OMPI_COMM_WORLD_LOCAL_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "3"}
    found = launchers.place("", 0, -1, MPI | local | {"CUDA_VISIBLE_DEVICES": visible})
    assert found.local_devices == devices


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {name: value for name, value in STEP.items() if name != "SLURM_STEP_ID"},
        STEP | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_NODELIST": "a1"},
        {"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0"},
        {"JOB_COMPLETION_INDEX": "3", "KUBERNETES_SERVICE_HOST": "10.0.0.1"},
    ],
)
def test_what_is_no_process_of_several_is_alone(environ):
    assert launchers.place("", 0, -1, environ) is None


def test_off_is_alone_whatever_the_launcher_says():
    environ = STEP | {"SLURM_STEP_NODELIST": "a[1-2]"}
    assert launchers.place("off", 0, -1, environ) is None


def test_open_mpi_of_one_host_needs_no_coordinator():
    environ = MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "4", "PMIX_NAMESPACE": "job@1"}
    found = launchers.place("", 0, -1, environ)
    assert found.coordinator.startswith("127.0.0.1:")
    assert (found.processes, found.process) == (4, 3)
    elsewhere = launchers.place("node1:99", 0, -1, MPI)
    assert elsewhere == launchers.Place("node1:99", 4, 3)


def test_an_indexed_job_and_variables_name_the_place():
    environ = {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "2"}
    indexed = launchers.place("", 0, -1, environ | {"JOB_COMPLETION_INDEX": "1"})
    named = launchers.place("", 0, -1, environ | {"JAX_PROCESS_ID": "1"})
    assert indexed == named == launchers.Place("a:1", 2, 1)


@pytest.mark.parametrize(
    ("flags", "environ", "words", "remedy", "mended"),
    [
        (
            ("", 2, 0),
            {},
            "--processes=2: --coordinator is missing",
            "such as --coordinator node1:8476",
            ("node1:8476", 2, 0),
        ),
        (
            ("", 0, -1),
            MPI,
            "--processes=4: --coordinator is missing",
            "off makes a run of this process only",
            ("off", 0, -1),
        ),
        (
            ("node1", 2, 0),
            {},
            "--coordinator=node1, but it must be HOST:PORT of process 0",
            "give such as --coordinator node1:8476",
            ("node1:8476", 2, 0),
        ),
        (
            ("node1:84760", 2, 0),
            {},
            "--coordinator=node1:84760, but it must be HOST:PORT of process 0",
            "a port of 1 to 65535; give such as --coordinator node1:8476",
            ("node1:8476", 2, 0),
        ),
        (
            ("node1:1", 2, -1),
            {},
            "--process is missing, but each of 2 processes needs another, 0 to 1",
            "give --process 0 to one of them",
            ("node1:1", 2, 0),
        ),
        (
            ("node1:1", 2, 2),
            {},
            "--process is 2, but each of 2 processes needs another, 0 to 1",
            "give --process 0 to one of them",
            ("node1:1", 2, 0),
        ),
        (
            ("node1:1", 0, 0),
            {},
            "--coordinator=node1:1: of how many processes?",
            "--coordinator off is a run of one",
            ("off", 0, 0),
        ),
        (
            ("node1:1", 0, 1),
            {"JAX_NUM_PROCESSES": "x"},
            "JAX_NUM_PROCESSES='x', but it must be a number",
            "unset it, or set it to one",
            ("node1:1", 2, 1),
        ),
    ],
)
def test_a_place_that_is_half_known_is_refused_and_the_remedies_work(
    flags, environ, words, remedy, mended
):
    with pytest.raises(ConfigError) as error:
        launchers.place(*flags, environ)
    assert words in str(error.value)
    assert remedy in str(error.value)
    environ = {name: value for name, value in environ.items() if value != "x"}
    found = launchers.place(*mended, environ)
    assert found is None if mended[0] == "off" else found.processes == 2


def test_without_jaxs_service_signals_are_left_alone(monkeypatch):
    monkeypatch.setattr(cluster, "processes", lambda: 2)
    runtime = types.SimpleNamespace(preemption_sync_manager=None)
    monkeypatch.setattr(joining, "_runtime", lambda: runtime)
    before = signal.getsignal(signal.SIGINT)
    with cluster.caught_signals() as interrupted:
        assert signal.getsignal(signal.SIGINT) is before
        assert interrupted() == 0


def test_jaxs_service_is_the_trainers_alone_while_it_runs(monkeypatch):
    asked = []
    service = types.SimpleNamespace(reached_sync_point=asked.append)
    runtime = types.SimpleNamespace(preemption_sync_manager=service)
    monkeypatch.setattr(cluster, "processes", lambda: 2)
    monkeypatch.setattr(joining, "_runtime", lambda: runtime)
    with cluster.caught_signals() as interrupted:
        assert runtime.preemption_sync_manager is None
        assert [interrupted(), interrupted()] == [0, 0]
    assert asked == [0, 1]
    assert runtime.preemption_sync_manager is service


def test_several_processes_use_all_their_devices(monkeypatch):
    monkeypatch.setattr(cluster, "processes", lambda: 2)
    config = small_runs.small_config()
    with pytest.raises(ConfigError, match="devices=1, but 2 processes have 8, all of"):
        sharding.check_devices(config)
    config.devices = 0
    assert sharding.check_devices(config) == 8


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"jax": "1"}, None),
        ({"jax": "2"}, r"process 0 on .* has another version than process 0: jax"),
        ({}, r"jax \('1' there, None here\); install the same everywhere\."),
    ],
)
def test_what_must_be_equal_everywhere_is_compared(monkeypatch, values, line):
    monkeypatch.setattr(cluster, "processes", lambda: 2)
    monkeypatch.setattr(cluster, "wait", lambda: None)
    monkeypatch.setattr(cluster, "told_by_primary", lambda _: '{"jax": "1"}')

    def compare():
        cluster.require_agreement("version", values, "install the same everywhere")

    if line is None:
        compare()
    else:
        with pytest.raises(ConfigError, match=line):
            compare()


@pytest.mark.parametrize(
    ("part", "streamed", "other"),
    [("train_images", False, True), ("test_labels", True, True), ("x", True, False)],
)
def test_data_that_differ_in_one_value_are_others(monkeypatch, part, streamed, other):
    """The pixels of streamed images are not compared, which may take hours to read."""
    compared, asked = [], []

    def require(what, values, remedy):
        asked.append((what, remedy))
        compared.append(values)

    monkeypatch.setattr(cluster, "processes", lambda: 2)
    monkeypatch.setattr(cluster, "require_agreement", require)
    config, here = small_runs.small_config(), small_runs.small_dataset()
    splits = task.split(config, here)
    made = task.make_task(config, here, splits, sharding.make_mesh(1))
    made = dataclasses.replace(made, streamed=streamed)
    agreement.on_data(made, here)
    there = {name: array.copy() for name, array in here.arrays.items()}
    if part in there:
        there[part].flat[3] += 1 if there[part].flat[3] < 9 else -1
    agreement.on_data(made, dataclasses.replace(here, **there))
    # First how they are read: where memories differ, all else would, too.
    assert [what for what, _ in asked] == ["memory for the data", "data set"] * 2
    assert asked[0][1] == "set --config.data.placement=host, or device, for all"
    assert compared[0] == compared[2] == {"streamed": streamed}
    assert (compared[1] != compared[3]) == other


@pytest.mark.parametrize(
    ("srun", "queued"), [(0, False), (138, True), (143, True), (1, False)]
)
def test_the_slurm_script_queues_itself_again_after_a_signal(tmp_path, srun, queued):
    """With an `srun` and an `scontrol` that only say what they were called with."""
    for name, status in (("srun", srun), ("scontrol", 0)):
        program = tmp_path / name
        said = f'{name} "$@" ${{SRUN_CPUS_PER_TASK:-}}'
        program.write_text(f"#!/bin/sh\necho {said}\nexit {status}\n")
        program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", LAUNCH / "slurm_run.sh", "--config", "A.py", "--workdir", "a folder"],
        env=os.environ
        | {"PATH": path, "SLURM_JOB_ID": "7", "PYTHON": "python3"}
        | {"SLURM_CPUS_PER_TASK": "8"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == srun
    lines = ["srun python3 -m lion_jax.train --config A.py --workdir a folder 8"]
    lines += ["scontrol requeue 7 8"] if queued else []
    assert ran.stdout.splitlines() == lines


def test_the_jobset_has_one_number_of_pods_and_names_the_first():
    text = (LAUNCH / "kubernetes_jobset.yaml").read_text()
    counts = re.findall(r"(?:completions|parallelism): (\d+)|\"(\d+)\" # pods", text)
    assert len({number for pair in counts for number in pair if number}) == 1
    assert len(counts) == 3
    (jobset,) = re.findall(r"metadata:\n  name: (\w+)", text)
    (job,) = re.findall(r"replicatedJobs:\n    - name: (\w+)", text)
    environ = dict(re.findall(r"name: (JAX_\w+)\n +value: \"?([^\"\s]+)", text))
    environ["JOB_COMPLETION_INDEX"] = "1"
    found = launchers.place("", 0, -1, environ)
    assert found == launchers.Place(f"{jobset}-{job}-0-0.{jobset}:8476", 2, 1)


def test_skypilot_gives_the_flags_of_a_place():
    text = (LAUNCH / "skypilot.yaml").read_text()
    run = text.partition("run: |\n")[2].replace("exec python", "echo")
    environ = {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NUM_NODES": "2"}
    said = subprocess.run(
        ["sh", "-c", run],
        env=os.environ | environ | {"SKYPILOT_NODE_RANK": "1"},
        capture_output=True,
        text=True,
    ).stdout.split()
    flags = CommandLine("train", train.Flags, said[2:], file_of=train.Flags.load).flags
    given = flags.coordinator, flags.processes, flags.process
    assert launchers.place(*given, {}) == launchers.Place("10.0.0.1:8476", 2, 1)


ABORTS_AGAIN = """
import os, resource
from lion_jax.cluster import ending
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def why():
    os.write(1, b"asked ")
    os.abort()


with ending.on_abort(why):
    os.abort()
"""


@pytest.mark.slow
def test_an_abort_while_another_is_explained_ends_the_process():
    """As Python's end aborts a thread that is within JAX's runtime, and the line's."""
    command = [sys.executable, "-c", ABORTS_AGAIN]
    ended = subprocess.run(command, timeout=60, stdout=subprocess.PIPE)
    assert (ended.returncode, ended.stdout) == (-signal.SIGABRT, b"asked ")


def test_the_watch_is_over_before_python_ends(monkeypatch):
    calls = []
    monkeypatch.setattr(ending, "PAUSE", 0.01)
    monkeypatch.setattr(ending, "_until_the_end", contextlib.ExitStack())
    monkeypatch.setattr(ending.atexit, "register", calls.append)
    client = types.SimpleNamespace(key_value_try_get=lambda key: "{}")
    before = ending._watch
    try:
        with ending._until_the_end:
            ending.watch(client, launchers.Place("here:1", 2, 1), HEARTBEAT, 0)
            watch, (stop,) = ending._watch, calls
            assert watch.is_alive()
            stop()
            assert not watch.is_alive()
    finally:
        ending._watch = before
