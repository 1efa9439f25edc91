"""PyTorch's side of train_step.py: the same models, Lion, five ways to run them."""

import importlib
from collections.abc import Callable
from typing import Any

torch: Any = importlib.import_module("torch")
nn: Any = torch.nn
functional: Any = torch.nn.functional
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class ConvNorm(nn.Sequential):
    """A square convolution without bias and a batch norm."""

    def __init__(self, c: int, d: int, size: int, stride: int = 1):
        super().__init__(
            nn.Conv2d(c, d, size, stride, size // 2, bias=False), nn.BatchNorm2d(d)
        )


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 convolutions beside a shortcut."""

    def __init__(self, c: int, width: int, stride: int):
        super().__init__()
        d = 4 * width
        self.layer1 = ConvNorm(c, width, 1)
        self.layer2 = ConvNorm(width, width, 3, stride)
        self.layer3 = ConvNorm(width, d, 1)
        same = stride == 1 and c == d
        self.shortcut = nn.Identity() if same else ConvNorm(c, d, 1, stride)

    def forward(self, x):
        y = self.layer1(x).relu_()
        y = self.layer2(y).relu_()
        return (self.layer3(y) + self.shortcut(x)).relu_()


class ResNet50(nn.Module):
    """ResNet-50, version 1.5."""

    def __init__(self, classes: int):
        super().__init__()
        layers, c = [], 64
        for stage, count in enumerate((3, 4, 6, 3)):
            for index in range(count):
                stride = 2 if stage and not index else 1
                layers.append(Bottleneck(c, 64 * 2**stage, stride))
                c = 256 * 2**stage
        self.stem = ConvNorm(3, 64, 7, 2)
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(c, classes)

    def forward(self, x):
        x = functional.max_pool2d(self.stem(x).relu_(), 3, 2, 1)
        return self.head(self.blocks(x).mean((2, 3)))


class EncoderLayer(nn.Module):
    """Pre-norm self-attention and perceptron."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=1e-6) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp1 = nn.Linear(width, 4 * width)
        self.mlp2 = nn.Linear(4 * width, width)

    def forward(self, x):
        b, n, d = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, n, d))
        return x + self.mlp2(functional.gelu(self.mlp1(self.norm2(x))))


class ViTB16(nn.Module):
    """ViT-B/16 with a class token."""

    def __init__(self, classes: int, image_size: int):
        super().__init__()
        self.patches = nn.Conv2d(3, 768, 16, 16)
        self.class_token = nn.Parameter(torch.zeros(1, 1, 768))
        tokens = (image_size // 16) ** 2 + 1
        self.positions = nn.Parameter(0.02 * torch.randn(1, tokens, 768))
        self.layers = nn.Sequential(*(EncoderLayer(768, 12) for _ in range(12)))
        self.norm = nn.LayerNorm(768, eps=1e-6)
        self.head = nn.Linear(768, classes)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1)
        return self.head(self.norm(self.layers(x + self.positions))[:, 0])


class Lion:
    """Lion in place, with as few passes over memory as PyTorch's foreach allows."""

    def __init__(self, params, rate: float, decay: float, b1=0.9, b2=0.99):
        self.params = list(params)
        self.mu = [torch.zeros_like(p) for p in self.params]
        self.rate, self.decay, self.b1, self.b2 = rate, decay, b1, b2

    @torch.no_grad()
    def step(self) -> None:
        """Moves the weights by their gradients."""
        grads = [p.grad for p in self.params]
        updates = torch._foreach_lerp(grads, self.mu, self.b1)
        torch._foreach_sign_(updates)
        torch._foreach_mul_(self.params, 1 - self.rate * self.decay)
        torch._foreach_add_(self.params, updates, alpha=-self.rate)
        torch._foreach_lerp_(self.mu, grads, 1 - self.b2)


def prepare(
    row: str, model: str, image_size: int, batch: int, classes: int
) -> Callable[[], None]:
    """Returns a function that takes one step of a mode and waits for it."""
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    made = ResNet50(classes) if model == "resnet50" else ViTB16(classes, image_size)
    made = made.to(DEVICE).train()
    images = torch.randn(batch, 3, image_size, image_size, device=DEVICE)
    labels = torch.randint(classes, (batch,), device=DEVICE)
    if row != "torch eager":
        made = made.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    optimizer = Lion(made.parameters(), rate=1e-4, decay=1.0)
    half = "bf16" in row

    def loss_of(images, labels):
        with torch.autocast(DEVICE, torch.bfloat16, enabled=half):
            return functional.cross_entropy(made(images), labels)

    update = optimizer.step
    if "compile" in row:
        loss_of, update = torch.compile(loss_of), torch.compile(update)

    def step() -> None:
        made.zero_grad(set_to_none=True)
        loss = loss_of(images, labels)
        loss.backward()
        update()
        loss.item()

    return step


def multiply(size: int, dtype: str) -> Callable[[], None]:
    """Returns a function that multiplies two square matrices and waits for it."""
    a = torch.ones(size, size, dtype=getattr(torch, dtype), device=DEVICE)
    return lambda: (a @ a)[0, 0].item()


def peak_device_memory() -> int | None:
    """Returns the most bytes of the accelerator used so far, or None without one."""
    return torch.cuda.max_memory_allocated() if DEVICE == "cuda" else None


def version() -> str:
    """Returns PyTorch's version and number of threads."""
    return f"torch {torch.__version__} on {DEVICE}, {torch.get_num_threads()} threads"
