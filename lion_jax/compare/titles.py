"""Titles of models, optimizers and configurations, as people write them."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lion_jax.compare.markdown import escaped
from lion_jax.compare.records import Record

MODELS = {
    "resnet50": "ResNet-50",
    "vit_b16": "ViT-B/16",
    "vit_ti8": "ViT-Ti/8",
    "resnet_tiny": "ResNet-tiny",
    "vit_tiny": "ViT-tiny",
}
OPTIMIZERS = {"lion": "Lion", "adamw": "AdamW", "sgd": "SGD"}
FIELDS = {"optimizer.learning_rate": "learning rate", "optimizer.weight_decay": "decay"}


class Title(str):
    """A configuration's title, in its two parts: names of data may hold commas."""

    heading: str  # what it shares with its siblings: model and data
    short: str  # the optimizer, for where the heading stands already

    def __new__(cls, heading: str, short: str) -> "Title":
        """Joins the parts: `ResNet-50, Lion`."""
        title = super().__new__(cls, f"{heading}, {short}")
        title.heading, title.short = heading, short
        return title

    def __getnewargs__(self) -> tuple[str, str]:
        """Returns what copies are made of."""
        return self.heading, self.short

    @property
    def escaped(self) -> "Title":
        """The title for Markdown."""
        return Title(escaped(self.heading), escaped(self.short))


def escaped_all(named: Mapping[str, Title]) -> dict[str, Title]:
    """Returns titles by name, for Markdown."""
    return {name: title.escaped for name, title in named.items()}


def of_model(name: str) -> str:
    """Returns a model's title; one of the user's own has its reference's last part."""
    return MODELS.get(name, name.rpartition(":")[2])


def of_models(names: Iterable[str]) -> dict[str, str]:
    """Returns models' titles by name, each its own: `a.py:net` and `b.py:net`."""
    return _apart(names, of_model)


def of_data(name: str) -> str:
    """Returns a data set's title; one of the user's own has its function's name."""
    return name.rpartition(":")[2]


def of_optimizer(name: str) -> str:
    """Returns an optimizer's title."""
    return OPTIMIZERS.get(name, name.rpartition(":")[2])


def of_field(path: str) -> str:
    """Returns the title of a configuration's field, given by its dotted path."""
    return FIELDS.get(path, path.rpartition(".")[2].replace("_", " "))


def of_values(swept: dict[str, Any]) -> str:
    """Returns the values of some fields: `learning rate 0.001, decay 0.1`."""
    return ", ".join(
        f"{of_field(field)} {value:g}"
        if isinstance(value, float)
        else f"{of_field(field)} {value}"
        for field, value in swept.items()
    )


def of_configurations(runs: list[Record]) -> dict[str, Title]:
    """Returns a title for each configuration's name: with the name if others share it.

    A report makes them once, of all its runs, so that a title means one configuration
    wherever it stands. Of trials that vary a part of the title, the first run counts.
    The data are named where there are several.
    """
    configs: dict[str, dict[str, Any]] = {}
    for run in runs:
        configs.setdefault(run.config["name"], run.config)
    models = of_models(config["model"]["name"] for config in configs.values())
    data = _apart((config["data"]["name"] for config in configs.values()), of_data)
    plain = {}
    for name, config in configs.items():
        on = f" on {data[config['data']['name']]}" if len(data) > 1 else ""
        optimizer = of_optimizer(config["optimizer"]["name"]) + vote(config)
        plain[name] = Title(f"{models[config['model']['name']]}{on}", optimizer)
    counts = Counter(plain.values())
    return {
        name: Title(x.heading, f"{x.short} ({name})") if counts[x] > 1 else x
        for name, x in plain.items()
    }


def of_groups(groups: list[list[str]], named: Mapping[str, Title]) -> dict[str, str]:
    """Returns by configuration what heads its siblings and itself: model and data.

    Names follow where another group trains the same model on the same data.

    Args:
      groups: Names of the configurations that are siblings.
      named: Titles of the configurations by name.
    """
    plain = [named[group[0]].heading for group in groups]
    counts = Counter(plain)
    return {
        name: f"{title} ({_few(group)})" if counts[title] > 1 else title
        for group, title in zip(groups, plain, strict=True)
        for name in group
    }


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 3 else ""
    return ", ".join(names[: 2 if more else 3]) + more


def _apart(names: Iterable[str], title_of: Callable[[str], str]) -> dict[str, str]:
    """Returns titles by name: the whole name where others have the same title."""
    named = {name: title_of(name) for name in names}
    counts = Counter(named.values())
    return {name: name if counts[title] > 1 else title for name, title in named.items()}


def vote(config: dict[str, Any]) -> str:
    """Returns how devices voted, if they did: it makes another algorithm of Lion."""
    mesh = config.get("mesh", {})  # records of earlier versions lack it
    if mesh.get("vote", "none") == "none":
        return ""
    also = " (synchronised)" if mesh["sync_every"] else ""
    return f" by {mesh['vote']} vote{also}"
