"""The commands as a caller meets them: help, and every usage error in one line."""

import asyncio
import gc
import logging
import re
import sys
import threading
import warnings

import absl.logging
import jax
import pytest
from command_line import ending
from small_models import STEM

from lion_jax import cli, evaluate, export, model_flags, predict, runtime, train
from lion_jax import config as configs
from lion_jax.config import Config, fields_of
from lion_jax.flags import CommandLine
from lion_jax.suggestions import unknown_field
from lion_jax.training.tables import TABLES

QUICK = "--config=quick.py"
CONFIG = """\
from lion_jax.config import *

def get_config():
    return Config(name="quick", image_size=32, data=DataConfig(name="{data}"))
"""
GROUP = "optimizer='lion'"
MISTAKES = {
    "no config": ([], ["--config is missing", "--config quickstart"]),
    "empty config": (["--config"], ["--config needs a value"]),
    "empty folder": (
        [QUICK, "--workdir="],
        ["--workdir=, but it must be a path, '.' for the current folder"],
    ),
    "folder below a file": (
        [QUICK, "--workdir=quick.py/run"],
        ["quick.py/run can be no folder: quick.py is a file; give another folder"],
    ),
    "folder of too long a name": (
        [QUICK, f"--workdir={'x' * 300}"],
        ["can be no folder: File name too long; give another folder"],
    ),
    "several configs": (
        ["--config", "quick.py", "other.py"],
        ["'other.py'", "python -m lion_jax.compare run --configs A.py B.py"],
    ),
    "several configs for one run": (
        [QUICK, "--configs", "quick.py", "other.py"],
        ["'--configs'", "python -m lion_jax.compare run --configs A.py B.py"],
    ),
    "absent file": (["--config=none.py"], ["--config=none.py: there is no such file"]),
    "no get_config": (["--config", "empty.py"], ["empty.py", "get_config"]),
    "syntax error": (["--config=broken.py"], ["broken.py: SyntaxError"]),
    "other result": (
        ["--config=other.py"],
        ["returned dict", "lion_jax.config.Config"],
    ),
    "misspelt in the file": (
        ["--config=typo.py"],
        ["typo.py, line ", "TypeError", "learning_rat"],
    ),
    "unknown attribute in the file": (
        ["--config=attribute.py"],
        ["attribute.py, line ", "AttributeError", "epoch"],
    ),
    "no group in the file": (
        ["--config=group.py"],
        ["optimizer='lion'", "must be of type OptimizerConfig"],
    ),
    "exit in the file": (["--config=exit.py"], ["exit.py, line 1: SystemExit: 5"]),
    "misspelt field": (
        [QUICK, "--config.optimizer.learning_rat=1"],
        ["no such field", "did you mean --config.optimizer.learning_rate=1?"],
    ),
    "field without its group": (
        [QUICK, "--config.learning_rate=1"],
        ["did you mean --config.optimizer.learning_rate=1?"],
    ),
    "short name of a field": (
        [QUICK, "--config.optimizer.lr=1e-4"],
        ["did you mean --config.optimizer.learning_rate=1e-4?"],
    ),
    "another name of a field": (
        [QUICK, "--config.wd", "3"],
        ["did you mean --config.optimizer.weight_decay?"],
    ),
    "field without its prefix": (
        [QUICK, "--epochs=3"],
        ["unknown flag '--epochs=3'", "did you mean --config.epochs=3?"],
    ),
    "another name of a flag": ([QUICK, "--logdir=x"], ["did you mean --workdir=x?"]),
    "no value": ([QUICK, "--config.epochs"], ["--config.epochs needs a value"]),
    "two values": (
        [QUICK, "--config.augment.flip", "0", "1"],
        ["unexpected argument '1'"],
    ),
    "idle field": (
        [QUICK, "--config.optimizer.eps=1e-6"],
        ["unless optimizer.name is adamw", "set --config.optimizer.eps=1e-08"],
    ),
    "group": ([QUICK, "--config.model=vit"], ["is a group of fields", "model.name"]),
    "wrong type": (
        [QUICK, "--config.epochs=many"],
        ["--config.epochs=many", "must be of type int"],
    ),
    "fraction of an int": ([QUICK, "--config.epochs=1.5"], ["must be of type int"]),
    "wrong bool": ([QUICK, "--config.augment.flip=maybe"], ["must be of type bool"]),
    "negative learning rate": (
        [QUICK, "--config.optimizer.learning_rate=-0.1"],
        ["optimizer.learning_rate=-0.1", "must be >= 0"],
    ),
    "patch": (
        [QUICK, "--config.model.name=vit_b16", "--config.image_size=33"],
        ["image_size=33", "16 pixels", "--config.image_size=32"],
    ),
    "batch and devices": (
        [QUICK, "--config.batch_size=63"],
        ["batch_size=63", "the 8 devices must divide it", "--config.batch_size=64"],
    ),
    "too many devices": ([QUICK, "--config.devices=9"], ["devices=9", "JAX finds 8"]),
    "unknown flag": ([QUICK, "--workdri=x"], ["did you mean --workdir=x?"]),
    "stray word": ([QUICK, "fast"], ["unexpected argument 'fast'"]),
    "unknown data": (
        [QUICK, "--config.data.name=fashion_mnits"],
        ["no such set", "fashion_mnist"],
    ),
    "batch above the data": (
        [QUICK, "--config.batch_size=5000", "--config.eval_batch_size=8"],
        ["batch_size=5000", "4000 training"],
    ),
}
# In this process jaxtyping tells of the last one first.
IN_A_PROCESS = {"wrong type", "no group in the file"}


@pytest.fixture
def files(command):
    """Config files, good and bad, in the folder where commands run."""
    for name, text in {
        "quick.py": CONFIG.format(data="fashion_mnist_sample"),
        "empty.py": "",
        "broken.py": "def get_config(:\n",
        "typo.py": CONFIG.format(data="x").replace("image_size", "learning_rat"),
        "attribute.py": (
            "from lion_jax.config import *\n"
            "def get_config():\n    c = Config()\n    c.epoch = 3\n    return c\n"
        ),
        "group.py": CONFIG.format(data="x").replace(
            "image_size=32", "optimizer='lion'"
        ),
        "exit.py": "raise SystemExit(5)\n",
        "other.py": "def get_config():\n    return {}\n",
    }.items():
        (command.folder / name).write_text(text)
    return sorted(path.name for path in command.folder.iterdir())


def assert_one_line(name, status, said, folder, files):
    assert status == 2, said
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, said
    assert "Traceback" not in said
    for words in MISTAKES[name][1]:
        assert words in lines[0]
    left = {path.name for path in folder.iterdir()} - {"__pycache__"}
    assert sorted(left) == files


@pytest.mark.parametrize("name", sorted(MISTAKES.keys() - IN_A_PROCESS))
def test_a_mistake_is_told_in_one_line_and_nothing_is_written(
    command, files, monkeypatch, name
):
    monkeypatch.chdir(command.folder)
    status, said, _ = ending(MISTAKES[name][0])
    assert_one_line(name, status, said, command.folder, files)


@pytest.mark.parametrize("name", sorted(IN_A_PROCESS))
def test_a_process_reports_a_mistake_as_well(command, files, monkeypatch, name):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "8")
    ran = command.run("lion_jax.train", *MISTAKES[name][0])
    assert not ran.stdout
    assert_one_line(name, ran.returncode, ran.stderr, command.folder, files)


def test_help_names_every_field_and_every_flag_with_the_files_defaults(files, command):
    ran = command.run("lion_jax.train", QUICK, "--help")
    assert ran.returncode == 0, ran.stderr
    shown = " ".join(re.sub("[│─╭╮╰╯]", " ", ran.stdout).split())
    for path, field in configs.fields_of(configs.Config).items():
        assert f"--config.{path} " in shown
        assert field.about.help in shown
    for flag in ("--config", "--workdir", "--compilation_cache", "--profile"):
        assert f"{flag} " in shown
    assert "same command to resume" in shown
    assert "(default: fashion_mnist_sample)" in shown
    assert "{lion,adamw,sgd}" in shown
    assert "adamw only" in shown
    for group in configs.Config, configs.OptimizerConfig, configs.DataConfig:
        assert group.__doc__ in shown
    assert max(map(len, ran.stdout.splitlines())) <= 80


def test_flags_reach_what_they_are_for(tmp_path, monkeypatch):
    config = tmp_path / "quick.py"
    config.write_text(CONFIG.format(data="fashion_mnist_sample"))
    seen = []
    monkeypatch.setattr(runtime, "start", lambda cache, **_: seen.append(cache))

    def spy(config, folder, console, profile, tracker):
        seen.append((config.epochs, str(folder), profile, tracker))
        return 0

    monkeypatch.setattr(train, "train", spy)
    train.main(["--config", str(config), "--config.epochs=7"])
    train.main([f"--config={config}", "--profile", "--compilation_cache=off"])
    wandb = ["--tracker=wandb"]
    train.main([f"--config={config}", "--workdir=there", "--noprofile", *wandb])
    monkeypatch.setattr(evaluate, "evaluate", lambda *_: {})
    monkeypatch.setattr(
        model_flags, "read_config", lambda _: cli.load_config(str(config))
    )
    evaluate.main(["--workdir=there", "--compilation_cache=here"])
    assert seen == [
        *("", (7, "runs/quick/seed_0", False, "")),
        *("off", (100, "runs/quick/seed_0", True, "")),
        *("", (100, "there", False, "wandb")),
        "here",
    ]


def test_a_full_disk_is_reported_in_one_line(command):
    """Every file of the process is limited to 4,500 bytes; parameters do not fit."""
    (command.folder / "quick.py").write_text(CONFIG.format(data="fashion_mnist_sample"))
    (command.folder / "limited.py").write_text(
        "import resource, sys\n"
        "hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4500, hard))\n"
        "from lion_jax import cli, data, train\n"
        "from lion_jax.training import checkpoint\n"
        "cli.run(train.main, (data.DataError,), (checkpoint.CheckpointError,))\n"
    )
    ran = command.run(
        "limited",
        QUICK,
        "--workdir=run",
        "--compilation_cache=off",
        f"--config.model.name={STEM}",
        "--config.image_size=16",
        "--config.epochs=2",
    )
    assert ran.returncode == 1
    assert len(ran.stderr.splitlines()) == 1, ran.stderr
    line = ran.stderr
    assert line.startswith("error: ")
    for said in ("step 62 cannot be saved", "File too large", "free space"):
        assert said in line


@pytest.mark.parametrize(
    ("said", "lines"), [("Event loop is closed", 0), ("another", 1)]
)
def test_closed_event_loops_are_not_reported_and_other_errors_are(
    said, lines, monkeypatch, capsys
):
    """Orbax's, in the threads that still write where another array failed."""

    class Writer:
        def __del__(self):
            raise RuntimeError(said)

    monkeypatch.setattr(sys, "unraisablehook", cli._but_tasks_given_up)
    Writer()
    assert capsys.readouterr().err.count(said) == lines


def test_what_a_reader_raises_that_is_given_up_is_not_reported(monkeypatch, capsys):
    """Orbax's, of a load of which another array failed first."""

    async def read():
        try:
            await asyncio.Future()
        except GeneratorExit as error:
            raise ValueError("array index") from error

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    monkeypatch.setattr(sys, "unraisablehook", cli._but_tasks_given_up)
    reader = read()
    reader.send(None)
    del reader
    loop.close()
    asyncio.set_event_loop(None)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("silenced", [True, False])
def test_tasks_that_a_failed_save_gives_up_are_not_reported(
    silenced, monkeypatch, caplog
):
    """Orbax's: one that waits for a file, one that comes when the loop is closed."""

    async def late():
        pass

    async def save():
        waiting = asyncio.ensure_future(asyncio.sleep(60))
        await asyncio.sleep(0)
        del waiting
        raise OSError("File too large")

    monkeypatch.setattr(absl.logging, "set_verbosity", lambda _: None)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(logging.getLogger("asyncio"), "filters", [])
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        if silenced:
            cli._silence_repeated_errors()
        loop = asyncio.new_event_loop()
        with pytest.raises(OSError, match="too large"):
            loop.run_until_complete(save())
        loop.close()
        with pytest.raises(RuntimeError, match="closed"):
            loop.run_until_complete(late())
        del loop
        gc.collect()
    warned = [str(w.message) for w in given if w.category is RuntimeWarning]
    logged = [each.getMessage().splitlines()[0] for each in caplog.records]
    assert (warned, logged) == (
        ([], [])
        if silenced
        else (
            [f"coroutine '{late.__qualname__}' was never awaited"],
            ["Task was destroyed but it is pending!"],
        )
    )


@pytest.mark.parametrize("module", ["lion_jax.evaluate", "lion_jax.data"])
def test_help_of_the_other_commands(command, module, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    ran = command.run(module, "--help")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert f"python -m {module}" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--workdir"),
        (["--workdir=nowhere"], "holds no config.json"),
        (["--workdir=.", "--checkpoint=worst"], "'worst'"),
    ],
)
def test_mistakes_of_evaluate(tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    status, errors, _ = ending(arguments, evaluate)
    assert status == 2
    assert said in errors
    assert len(errors.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (configs.ConfigError("a\nb"), 2),
        (LookupError("a\nb"), 2),
        (OSError("a\nb"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_statuses(error, status, capsys, monkeypatch):
    # The whole process's logging is not this test's to change.
    monkeypatch.setattr(cli, "_show_log", lambda: None)

    def main(argv):
        raise error

    with pytest.raises(SystemExit) as ended:
        cli.run(main, mistakes=(LookupError,), failures=(OSError,), argv=[])
    assert ended.value.code == status
    said = capsys.readouterr().err.splitlines()
    assert said == ["interrupted" if status == 130 else "error: a b"]


def test_memory_that_does_not_suffice_is_reported_in_one_line(capsys, monkeypatch):
    monkeypatch.setattr(cli, "_show_log", lambda: None)
    made = jax.errors.JaxRuntimeError

    def main(argv):
        raise made("RESOURCE_EXHAUSTED: Out of memory: 9 bytes.\nBuffers: ...")

    with pytest.raises(SystemExit) as ended:
        cli.run(main, mistakes=(), argv=[])
    assert ended.value.code == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("error: the memory of a device does not suffice (RESOURCE_")
    assert "9 bytes.)" in said
    for flag in re.findall(r"--(config\.[\w.]+)", said):
        assert flag.removeprefix("config.") in fields_of(Config)
    with pytest.raises(made, match="INTERNAL"):
        cli.run(lambda _: other(made("INTERNAL: a fault")), mistakes=(), argv=[])


def other(error):
    raise error


def parsed(argv, tmp_path):
    """The configuration that a command line of `train` makes of a file."""
    (tmp_path / "quick.py").write_text(CONFIG.format(data="x"))
    line = CommandLine(
        "train", train.Flags, argv, file_of=train.Flags.load, tables=TABLES
    )
    return line.configure(cli.load_config(str(tmp_path / "quick.py")))


@pytest.mark.parametrize(
    ("argv", "flip", "seed"),
    [
        (["--config.augment.flip"], True, 0),
        (["--config.augment.flip", "--config.seed", "3"], True, 3),
        (["--config.augment.flip=1"], True, 0),
        (["--config.augment.flip=True", "-config.seed=3"], True, 3),
        (["--config.augment.flip", "false", "--config.seed=3"], False, 3),
        (["--config.augment.flip", "--config.augment.flip=0"], False, 0),
        (["--config.augment.flip=1", "--noconfig.augment.flip"], False, 0),
        (["--config.model.zero-init-residual", "--config.augment.flip"], True, 0),
        (["--dry-run", "--config.augment.flip", "--config.batch-size", "8"], True, 0),
        (["--no-dry-run", "--config.augment.flip"], True, 0),
        (["--config.augment.flip", "--no-config.model.zero-init-residual"], True, 0),
    ],
)
def test_values_are_given_with_a_sign_or_a_space_and_booleans_alone(
    tmp_path, argv, flip, seed
):
    config = parsed(argv, tmp_path)
    assert (config.augment.flip, config.seed) == (flip, seed)


def test_a_value_or_a_file_that_looks_like_a_flag_is_left_alone(tmp_path):
    argv = ["--config.name", "a-dry-run", "--workdir", "./dry-run"]
    argv += ["--compilation_cache", "./compilation-cache"]
    line = CommandLine(
        "train", train.Flags, argv, file_of=train.Flags.load, tables=TABLES
    )
    assert line.configure(Config()).name == "a-dry-run"
    assert str(line.flags.workdir) == "dry-run"
    assert line.flags.compilation_cache == "./compilation-cache"


@pytest.mark.parametrize(
    ("value", "mended"),
    [
        ("accumulate=3", "--config.accumulate=1"),  # as the message says
        ("accumulate=3", "--config.batch_size=96"),
        ("epochs=0", "--config.epochs=100"),
        ("name='a b'", "--config.name=experiment"),
    ],
)
def test_a_flag_replaces_what_is_wrong_in_a_file(tmp_path, value, mended):
    (tmp_path / "wrong.py").write_text(
        "from lion_jax.config import Config\n\n"
        f"def get_config():\n    return Config({value})\n"
    )

    def read(*argv):
        argv = [f"--config={tmp_path / 'wrong.py'}", *argv]
        line = CommandLine(
            "train", train.Flags, argv, file_of=train.Flags.load, tables=TABLES
        )
        return line.configure(cli.load_config(line.flags.file))

    with pytest.raises(configs.ConfigError, match=value.partition("=")[0]):
        read()
    assert read(mended)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("True", True),
        ("False", False),
        ("None", None),
        ("null", None),
        (".5", 0.5),
        ("1.", 1.0),
        ("1_000", 1000),
        ("(3, False)", [3, False]),
        ("'3'", "3"),
        ("relu", "relu"),
        ("a-b", "a-b"),
        ("1+2j", "1+2j"),
        ("{1, 2}", "{1, 2}"),
        ("", ""),
    ],
)
def test_options_are_read_as_json_or_python_or_text(text, value):
    field = configs.field_at(configs.Config, "model.options.x")
    assert field.parse(text) == value
    assert type(field.parse(text)) is type(value)


def test_a_negative_or_odd_value_is_a_value(tmp_path):
    argv = ["--config.data.data_dir=--a=b c", "--config.data.cache_dir", "a=b"]
    config = parsed(argv, tmp_path)
    assert config.data.data_dir == "--a=b c"
    assert config.data.cache_dir == "a=b"
    with pytest.raises(configs.ConfigError, match=r"learning_rate=-0.1.*must be >= 0"):
        parsed(["--config.optimizer.learning_rate", "-0.1"], tmp_path)


@pytest.mark.parametrize("flag", ["lr", "config.wd", "bs", "config.epoch"])
def test_what_is_suggested_is_accepted(tmp_path, flag):
    with pytest.raises(configs.ConfigError) as error:
        parsed([f"--{flag}=8"], tmp_path)
    (suggested,) = re.findall(r"did you mean (\S+)\?", str(error.value))
    parsed([suggested], tmp_path)


def test_every_other_name_of_a_field_leads_to_it_alone():
    names = [
        name
        for field in configs.fields_of(configs.Config).values()
        for name in (field.path, *field.about.also)
    ]
    assert len(names) == len({*names})
    for path, field in configs.fields_of(configs.Config).items():
        for name in field.about.also:
            assert f"--config.{path}?" in unknown_field(name)


def test_every_default_is_the_remedy_that_its_refusal_names():
    """What a message says to set is accepted in place of what it refuses."""
    wrong, tried = {int: "-1", float: "-1", str: "no such"}, 0
    for path, field in configs.fields_of(configs.Config).items():
        text = wrong.get(field.type, "1")
        try:
            configs.override(configs.Config(), {path: text}, TABLES)
        except configs.ConfigError as error:
            for path, text in re.findall(r"set --config\.(\S+)=(\S*), for", str(error)):
                configs.override(configs.Config(), {path: text}, TABLES)
                tried += 1
    assert tried > 25


def test_a_mistake_in_a_file_or_beside_it_has_its_place(tmp_path):
    (tmp_path / "mine.py").write_text("def values():\n    return dict()['epochs']\n")
    (tmp_path / "deep.py").write_text("import mine\nget_config = mine.values()\n")
    with pytest.raises(configs.ConfigError) as error:
        cli.load_config(str(tmp_path / "deep.py"))
    place = f"{tmp_path / 'mine.py'}, line 2: KeyError: 'epochs'; the"
    assert place in str(error.value)
    # Neither this package nor an environment in the same folder is to blame.
    library = tmp_path / ".venv" / "site-packages"
    library.mkdir(parents=True)
    (library / "theirs.py").write_text("def check(x):\n    raise ValueError(x)\n")
    (tmp_path / "late.py").write_text(
        f"import sys\nsys.path.append({str(library)!r})\nimport theirs\n"
        "get_config = lambda: theirs.check(3)\n"
    )
    (tmp_path / "none.py").write_text("x = 3\n")
    for name, said in ("late", "late.py, line 4: ValueError: 3"), ("none", "KeyError"):
        with pytest.raises(configs.ConfigError) as error:
            cli.load_config(str(tmp_path / f"{name}.py"))
        assert said in str(error.value)
        assert "cli.py" not in str(error.value)


def test_a_file_runs_once_and_may_import_its_neighbour(tmp_path, capsys, monkeypatch):
    for folder, epochs in ("a", 3), ("b", 4):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "base.py").write_text(
            "from lion_jax.config import *\nprint('read')\n"
            f"def get_config():\n    return Config(epochs={epochs})\n"
        )
        (tmp_path / folder / "child.py").write_text("from base import get_config\n")
    seen, path = [], [*sys.path]
    monkeypatch.setattr(runtime, "start", lambda *_, **__: None)
    monkeypatch.setattr(
        train, "train", lambda config, *_, **__: seen.append(config) or 0
    )
    (tmp_path / "linked.py").symlink_to("a/child.py")  # as for a script
    for name in "a/child.py", "b/child.py", "linked.py":
        train.main([f"--config={tmp_path / name}"])
    assert [config.epochs for config in seen] == [3, 4, 3]
    assert capsys.readouterr().out == "read\n" * 3
    assert sys.path == path
    assert "base" not in sys.modules


def test_the_package_lists_its_commands(command):
    ran = command.run("lion_jax")
    assert ran.returncode == 0
    listed = re.findall(r"python -m lion_jax\.(\w+)  ", ran.stdout)
    assert listed == ["compare", "data", "evaluate", "export", "predict", "train"]
    wrong = command.run("lion_jax", "train", "--help")
    assert wrong.returncode == 2
    assert wrong.stderr == "error: use python -m lion_jax.train --help\n"


def test_a_terminal_of_ascii_is_enough(command, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    for words in (["--help"], ["--config=köln.py"]):
        ran = command.run("lion_jax.train", *words)
        assert "Traceback" not in ran.stderr
        assert ran.returncode == (0 if words == ["--help"] else 2)
    assert "k\\xf6ln.py: there is no such file" in ran.stderr


def test_flags_of_all_commands_are_documented():
    from lion_jax.compare import flags as compare
    from lion_jax.data import __main__ as prepare

    names = [f"{name}Flags" for name in ("Run", "Status", "Report", "Grid")]
    alone = train.Flags, evaluate.Flags, predict.Flags, export.Flags, prepare.Flags
    for flags in (*alone, *(getattr(compare, name) for name in names)):
        assert not flags.__doc__.startswith(f"{flags.__name__}(")  # the dataclass's own
        for path, field in configs.fields_of(flags).items():
            assert field.about.help, path


def test_which_fields_a_command_line_sets():
    words = ["config.png", "--config.eval-batch-size=8", "--workdir", "config.run"]
    line = CommandLine("prog", predict.Flags, words, file_of=lambda _: configs.Config())
    assert line.overridden == ["eval_batch_size"]
    assert line.flags.images == ["config.png"]
    words = ["--workdir", "run", "--", "-ab.png", "--noimage.png"]
    line = CommandLine("prog", predict.Flags, words, file_of=lambda _: configs.Config())
    assert line.flags.images == ["-ab.png", "--noimage.png"]
    for words in ["--json", "a.png"], ["a.png", "--json"], ["--json", "true", "a.png"]:
        flags = CommandLine("prog", predict.Flags, words).flags
        assert (flags.json, flags.images) == (True, ["a.png"])
