"""Layers that the models share: convolution, norm, pooling, attention, remat."""
