"""Flax models: ResNet-50 and ViT-B/16, with small variants for tests."""

from lion_jax.models.resnet import ResNet, resnet50, resnet_tiny
from lion_jax.models.vit import ViT, vit_b16, vit_tiny

__all__ = ["ResNet", "ViT", "resnet50", "resnet_tiny", "vit_b16", "vit_tiny"]
