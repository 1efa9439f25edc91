"""Weights in the naming of torchvision and of timm, in ours.

Both libraries keep convolutions as (out, in, height, width) and linear layers as (out,
in); Flax keeps (height, width, in, out) and (in, out).
"""

import re
from collections.abc import Mapping

import numpy as np

NORM = {
    "weight": "scale",
    "bias": "bias",
    "running_mean": "mean",
    "running_var": "var",
}
# Patterns of names without their last part, and ours. The norm of a convolution has its
# number, in ResNet's blocks as in its stem.
RESNET = (
    (r"conv1", "stem.conv"),
    (r"bn1", "stem.norm"),
    (r"layer(\d)\.(\d+)\.conv(\d)", "blocks.{block}.layer{2}.conv"),
    (r"layer(\d)\.(\d+)\.bn(\d)", "blocks.{block}.layer{2}.norm"),
    (r"layer(\d)\.(\d+)\.downsample\.0", "blocks.{block}.shortcut.conv"),
    (r"layer(\d)\.(\d+)\.downsample\.1", "blocks.{block}.shortcut.norm"),
    (r"fc", "head"),
)
TORCHVISION_VIT = (
    (r"class_token", "class_token"),
    (r"conv_proj", "patches"),
    (r"encoder\.pos_embedding", "positions"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.ln_(\d)", "layers.{0}.norm{1}"),
    (
        r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.in_proj",
        "layers.{0}.qkv",
    ),
    (
        r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.out_proj",
        "layers.{0}.out",
    ),
    (r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:0|linear_1)", "layers.{0}.mlp1"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:3|linear_2)", "layers.{0}.mlp2"),
    (r"encoder\.ln", "norm"),
    (r"heads\.head", "head"),
)
TIMM_VIT = (
    (r"cls_token", "class_token"),
    (r"patch_embed\.proj", "patches"),
    (r"pos_embed", "positions"),
    (r"blocks\.(\d+)\.norm(\d)", "layers.{0}.norm{1}"),
    (r"blocks\.(\d+)\.attn\.qkv", "layers.{0}.qkv"),
    (r"blocks\.(\d+)\.attn\.proj", "layers.{0}.out"),
    (r"blocks\.(\d+)\.mlp\.fc(\d)", "layers.{0}.mlp{1}"),
    (r"norm", "norm"),
    (r"head", "head"),
)
# A name that only weights of that kind have, what they are called, and the patterns.
KINDS = (
    ("layer1.0.conv1.weight", "ResNet of torchvision or timm", RESNET),
    ("encoder.pos_embedding", "torchvision's ViT", TORCHVISION_VIT),
    ("patch_embed.proj.weight", "timm's ViT", TIMM_VIT),
)


def translate(
    arrays: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], str, list[str]]:
    """Returns weights under our names and in our layout.

    Args:
      arrays: By the names of torchvision or timm, or by ours, as `export` writes them.

    Returns:
      The weights by their path in our model, whose naming it was, and the names that
      stand for nothing here.
    """
    kinds = [(whose, patterns) for mark, whose, patterns in KINDS if mark in arrays]
    if not kinds:
        return dict(arrays), "lion_jax", []
    whose, patterns = kinds[0]
    firsts = _first_blocks(arrays)
    translated, unknown = {}, []
    for name, array in arrays.items():
        if name.endswith("num_batches_tracked"):
            continue
        for pattern, ours in patterns:
            found = re.fullmatch(rf"{pattern}(?:[._](weight|bias|running_\w+))?", name)
            if found:
                *groups, last = found.groups()
                if "{block}" in ours:
                    block = firsts[groups[0]] + int(groups[1])
                    ours = ours.format(*groups, block=block)
                else:
                    ours = ours.format(*groups)
                new, array = _converted(ours, last, array)
                translated[new] = array
                break
        else:
            unknown.append(name)
    return translated, whose, unknown


def _first_blocks(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Returns the number of each stage's first block, counted through all stages."""
    found = [re.match(r"layer(\d)\.(\d+)\.", name) for name in arrays]
    blocks = sorted({(m[1], int(m[2])) for m in found if m})
    firsts: dict[str, int] = {}
    for number, (stage, _) in enumerate(blocks):
        firsts.setdefault(stage, number)
    return firsts


def _converted(
    ours: str, last: str | None, array: np.ndarray
) -> tuple[str, np.ndarray]:
    """Returns the whole name of an array, and the array in our layout."""
    if last is None:
        return ours, array
    if array.ndim == 4:
        return f"{ours}.kernel", array.transpose(2, 3, 1, 0)
    if array.ndim == 2:
        return f"{ours}.kernel", array.T
    return f"{ours}.{NORM[last]}", array
