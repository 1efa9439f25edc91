"""Titles of models, optimizers and configurations, as people write them."""

from collections import Counter
from typing import Any

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


def of_model(name: str) -> str:
    """Returns a model's title; one of the user's own has its reference's last part."""
    return MODELS.get(name, name.rpartition(":")[2])


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


def of_configurations(runs: list[Record]) -> dict[str, str]:
    """Returns a title for each configuration's name: with the name if others share it.

    A report makes them once, of all its runs, so that a title means one configuration
    wherever it stands. Of trials that vary a part of the title, the first run counts.
    """
    plain: dict[str, str] = {}
    for run in runs:
        plain.setdefault(run.config["name"], _plain(run.config))
    counts = Counter(plain.values())
    return {
        name: f"{title} ({name})" if counts[title] > 1 else title
        for name, title in plain.items()
    }


def short(title: str) -> str:
    """Returns a configuration's title without its model, where that stands already."""
    return title.partition(", ")[2] or title


def _plain(config: dict[str, Any]) -> str:
    model, optimizer = config["model"]["name"], config["optimizer"]["name"]
    return f"{of_model(model)}, {of_optimizer(optimizer)}{_vote(config)}"


def _vote(config: dict[str, Any]) -> str:
    """Returns how devices voted, if they did: it makes another algorithm of Lion."""
    mesh = config.get("mesh", {})  # records of earlier versions lack it
    if mesh.get("vote", "none") == "none":
        return ""
    also = " (synchronised)" if mesh["sync_every"] else ""
    return f" by {mesh['vote']} vote{also}"
