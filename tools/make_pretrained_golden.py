"""Writes tests/data/pretrained.json: logits of torchvision's and timm's own models.

    PYTHONPATH=tests python tools/make_pretrained_golden.py

needs torch, torchvision and timm. Weights and images are drawn by name from NumPy's
generator, here and in the test alike, so that only names, shapes and logits are kept.
"""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

# By name: the project itself needs none of them.
drawn_weights: Any = importlib.import_module("drawn_weights")
timm: Any = importlib.import_module("timm")
torch: Any = importlib.import_module("torch")
torchvision: Any = importlib.import_module("torchvision")
PATH = Path(__file__).parents[1] / "tests" / "data" / "pretrained.json"


def logits_of(model: Any) -> dict[str, Any]:
    state = model.state_dict()
    shapes = {name: list(array.shape) for name, array in state.items()}
    weights = drawn_weights.drawn(shapes)
    model.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    model.eval()
    with torch.no_grad():
        x = torch.from_numpy(drawn_weights.images().transpose(0, 3, 1, 2))
        logits = model(x).numpy()
    return {"shapes": shapes, "logits": np.round(logits.astype(float), 6).tolist()}


def main() -> None:
    vit = {"image_size": 32, "patch_size": 16, "num_classes": 5}
    sizes = {"num_layers": 2, "num_heads": 12, "hidden_dim": 768, "mlp_dim": 3072}
    made = {
        "torchvision resnet50": logits_of(torchvision.models.resnet50(num_classes=5)),
        "timm resnet50": logits_of(timm.create_model("resnet50", num_classes=5)),
        "torchvision vit_b_16": logits_of(
            torchvision.models.VisionTransformer(**vit, **sizes)
        ),
        "timm vit_base_patch16": logits_of(
            timm.create_model(
                "vit_base_patch16_224", img_size=32, num_classes=5, depth=2
            )
        ),
    }
    positions = np.random.default_rng(0).normal(size=(1, 17, 3)).astype(np.float32)
    made["positions 4 x 4"] = positions.astype(float).round(6).tolist()
    for side in 2, 7:
        resized = timm.layers.resample_abs_pos_embed(
            torch.tensor(made["positions 4 x 4"]), [side, side]
        )
        made[f"positions {side} x {side}"] = resized.numpy().astype(float).tolist()
    made["versions"] = {x.__name__: x.__version__ for x in (torch, torchvision, timm)}
    PATH.write_text(json.dumps(made) + "\n")


if __name__ == "__main__":
    main()
