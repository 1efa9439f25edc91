"""Configurations: what is refused, what siblings may differ in, the help text."""

import dataclasses
from pathlib import Path

import pytest
from module_files import module_at

from lion_jax import config as configs
from lion_jax import identity, models
from lion_jax.config import Config, ConfigError, fields_of
from lion_jax.models.layers import remat
from lion_jax.training.tables import TABLES

FOLDER = Path(__file__).parents[1] / "configs"
FILES = sorted(FOLDER.glob("*.py"))
TOOL = FOLDER.parent / "tools" / "configuration_page.py"
PAGE = (FOLDER.parent / "docs" / "configuration.md").read_text(encoding="utf-8")


def changed(path, value):
    config = Config()
    *parents, name = path.split(".")
    holder = config
    for parent in parents:
        holder = getattr(holder, parent)
    setattr(holder, name, value)
    return config


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_config_file_is_sound_and_states_its_command(path):
    module = module_at(path)
    config = module.get_config()
    configs.check(config, TABLES)
    assert config.name == path.stem
    for devices in (1, 2, 4, 8):  # of a host with GPUs
        assert configs.check_devices(config, devices) == devices
    assert f"python -m lion_jax.train --config configs/{path.name}" in module.__doc__


@pytest.mark.parametrize(
    ("name", "rate", "decay", "b2"),
    [
        ("resnet50_lion", 3e-4, 1.0, 0.99),
        ("resnet50_adamw", 3e-3, 0.1, 0.999),
        ("vitb16_lion", 1e-3, 1.0, 0.99),
        ("vitb16_adamw", 3e-3, 0.3, 0.999),
    ],
)
def test_the_original_protocol(name, rate, decay, b2):
    got = configs.flatten(module_at(FOLDER / f"{name}.py").get_config())
    expected = {
        "image_size": 224,
        "channels": 3,
        "batch_size": 64,
        "epochs": 100,
        "data.name": "fashion_mnist",
        "data.validation_fraction": 0.2,
        "data.split_seed": 42,
        "early_stopping.patience": 3,
        "early_stopping.min_delta": 0.001,
        "optimizer.learning_rate": rate,
        "optimizer.weight_decay": decay,
        "optimizer.decay": "all",
        "optimizer.schedule": "constant",
        "optimizer.warmup_fraction": 0.0,
        "optimizer.clip_norm": 0.0,
        "optimizer.b1": 0.9,
        "optimizer.b2": b2,
        "label_smoothing": 0.0,
        "augment.crop_padding": 0,
        "augment.flip": False,
    }
    assert {key: got[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("optimizer.learning_rate", -1e-4, "must be >= 0"),
        ("optimizer.learning_rate", float("nan"), "must be >= 0"),
        ("optimizer.learning_rate", float("inf"), "must be >= 0"),
        ("optimizer.learning_rate", "fast", "must be of type float, not str"),
        ("optimizer.b1", 1.0, "must be >= 0 and < 1"),
        ("optimizer.name", "lyon", "must be one of lion, adamw, sgd"),
        ("data.validation_fraction", 0.0, "must be > 0 and < 1"),
        ("epochs", 0, "must be >= 1"),
        ("epochs", True, "must be of type int, not bool"),
        ("epochs", 2.5, "must be of type int, not float"),
        ("epochs", 10**400, "must be a number of 64 bits"),
        ("optimizer.learning_rate", 10**400, "must be a number of 64 bits"),
        ("augment.flip", 1, "must be of type bool, not int"),
        ("seed", -1, "must be >= 0"),
        ("model.dtype", "float16", "must be one of float32, bfloat16"),
        ("optimizer.mu_dtype", "int4", "must be one of float32, bfloat16, int8"),
    ],
)
def test_wrong_values_name_field_value_and_rule(path, value, said):
    with pytest.raises(ConfigError) as error:
        configs.check(changed(path, value), TABLES)
    shown = hex(value) if value == 10**400 else value
    assert str(error.value).startswith(f"{path}={shown!r}, but it {said}")
    assert f"--config.{path}" in str(error.value)


OTHER = {bool: True, int: 3, float: 0.5}
OPTIONS = [field for field in fields_of(Config).values() if field.about.option]


@pytest.mark.parametrize("field", OPTIONS, ids=lambda field: field.path)
@pytest.mark.parametrize("name", [*models.MODELS, *TABLES["optimizer.name"]])
def test_an_option_is_refused_wherever_it_would_do_nothing(field, name):
    """Every row of both tables x every option: alike, whoever takes it."""
    if name not in TABLES[field.sibling]:
        return
    config = changed(field.path, OTHER.get(field.type, field.choices[-1:]))
    if field.choices:
        config = changed(field.path, field.choices[-1])
    getattr(config, field.group).name = name
    if field.name in TABLES[field.sibling][name]:
        configs.check(config, TABLES)
    else:
        with pytest.raises(ConfigError) as error:
            configs.check(config, TABLES)
        assert f"{field.path}=" in str(error.value)
        assert f"must be {field.default!r} unless {field.sibling} is" in str(
            error.value
        )


def test_every_option_has_a_taker_and_every_parameter_of_an_optimizer_is_a_field():
    for field in OPTIONS:
        assert any(field.name in row for row in TABLES[field.sibling].values()), field
    names = {field.name for field in OPTIONS if field.group == "optimizer"}
    for row in TABLES["optimizer.name"].values():
        assert names >= row.keys()


def test_choices_of_models_are_those_of_their_room():
    fields = fields_of(Config)
    assert fields["model.pool"].choices == models.vit.POOLS
    assert fields["model.remat"].choices == remat.CHOICES


@pytest.mark.parametrize(
    ("path", "value"), [("min_delta", 0.5), ("start_epoch", 2)], ids=str
)
def test_rules_of_early_stopping_need_patience(path, value):
    config = changed(f"early_stopping.{path}", value)
    configs.check(config)
    config.early_stopping.patience = 0
    with pytest.raises(ConfigError, match="without early_stopping"):
        configs.check(config)


def test_a_kind_of_weight_decay_needs_weight_decay():
    config = changed("optimizer.cautious_weight_decay", True)
    config.optimizer.weight_decay = 0.0
    with pytest.raises(ConfigError, match="must be False without"):
        configs.check(config)


def test_patch_must_divide_the_image_and_a_fitting_size_is_named():
    config = changed("model.name", "vit_b16")
    config.image_size = 50
    with pytest.raises(ConfigError, match=r"image_size=50.*16.*--config.image_size=48"):
        configs.check(config, TABLES)


def test_accumulation_must_divide_the_batch():
    with pytest.raises(ConfigError, match=r"accumulate=5.*divide batch_size=64"):
        configs.check(changed("accumulate", 5))
    configs.check(changed("accumulate", 4))


def test_devices_must_divide_the_batches():
    config = changed("batch_size", 60)
    with pytest.raises(ConfigError, match=r"batch_size=60.*8 devices.*batch_size=64"):
        configs.check_devices(config, available=8)
    assert configs.check_devices(changed("devices", 4), available=8) == 4
    parts = changed("batch_size", 48)
    parts.accumulate = 4
    said = r"batch_size=48.*8 devices times accumulate=4.*batch_size=64.*\.accumulate"
    with pytest.raises(ConfigError, match=said):
        configs.check_devices(parts, available=8)
    with pytest.raises(ConfigError, match=r"devices=9, but JAX finds 8"):
        configs.check_devices(changed("devices", 9), available=8)


def test_saved_configurations_come_back_whole():
    config = changed("optimizer.learning_rate", 0.125)
    saved = dataclasses.asdict(config)
    assert configs.from_dict(saved) == config
    # An option that its optimizer does not take was accepted once.
    saved["optimizer"]["eps"] = 1e-6
    assert configs.from_dict(saved).optimizer.eps == 1e-6


@pytest.mark.parametrize("path", [*fields_of(Config)])
def test_a_field_that_was_not_there_has_its_default(path):
    config = Config(name="mine", seed=5)
    saved = dataclasses.asdict(config)
    *groups, name = path.split(".")
    del (saved[groups[0]] if groups else saved)[name]
    assert configs.flatten(configs.from_dict(saved)) == {
        **configs.flatten(config),
        path: fields_of(Config)[path].default,
    }
    if path not in ("name", "seed"):
        assert identity.conflicts(saved, dataclasses.asdict(config)) == []


def test_a_field_of_a_newer_version_is_refused():
    saved = dataclasses.asdict(Config())
    saved["optimizer"]["beta7"] = 1
    with pytest.raises(ConfigError, match=r"'optimizer\.beta7'.*upgrade"):
        configs.from_dict(saved)


def test_every_field_has_a_meaning_and_a_default_that_keeps_its_rule():
    for path, field in fields_of(Config).items():
        assert len(field.about.help) > 4
        assert field.allows(field.default)
        assert field.about.help in PAGE, (
            f"run python tools/configuration_page.py: {path}"
        )


def test_the_page_of_the_configuration_is_that_of_its_fields():
    assert module_at(TOOL).page(PAGE) == PAGE, "run python tools/configuration_page.py"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".hidden", "a b", "a\0"])
def test_a_name_can_name_a_folder(name):
    with pytest.raises(ConfigError, match="folders are named by it"):
        configs.check(Config(name=name))


def test_overrides_are_parsed_by_type_and_checked_together():
    config = Config()
    values = {"model.name": "vit_b16", "model.drop_path": "0.1", "epochs": "7"}
    values |= {"augment.flip": "True", "data.data_dir": "a=b"}
    made = configs.override(config, values, TABLES)
    assert made.model.name == "vit_b16"
    assert (made.model.drop_path, made.epochs) == (0.1, 7)
    assert made.augment.flip is True
    assert made.data.data_dir == "a=b"
    assert config == Config()
    for path, text, said in [
        ("epochs", "1.5", "epochs=1.5, but it must be of type int"),
        ("augment.flip", "yes", "must be of type bool"),
        ("model.drop_path", "0.1", "unless model.name is vit_b16, vit_ti8 or vit_tiny"),
    ]:
        with pytest.raises(ConfigError, match=said):
            configs.override(config, {path: text}, TABLES)
