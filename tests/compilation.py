"""How programs are compiled in the tests: seldom, and as fast as JAX's version can."""

import importlib
import os
from pathlib import Path
from typing import Any

LIGHT = "jax_disable_most_optimizations"
# With jax 0.10 XLA:CPU has two generators of code. The default one, which is all that
# jax 0.12 has, takes most of the time of a small program's compilation.
OLDER_GENERATOR = {"0.10": {"xla_cpu_use_fusion_emitters": False}}


def write_whole_programs() -> None:
    """Has JAX's cache write a program whole or not at all.

    JAX writes in place, and a worker that reads what another one is writing warns of a
    truncated stream.
    """
    lru_cache: Any = importlib.import_module("jax._src.lru_cache")

    def put(cache: Any, key: str, value: bytes) -> None:
        path = f"{cache.path}/{key}{lru_cache._CACHE_SUFFIX}"
        if not os.path.exists(path):
            temporary = Path(f"{path}.{os.getpid()}")
            temporary.write_bytes(value)
            temporary.replace(path)

    lru_cache.LRUCache.put = put


def use_the_older_generator() -> None:
    """Has XLA use it where there is one, and JAX is told to leave optimizations out."""
    import jax

    options = OLDER_GENERATOR.get(jax.__version__.rpartition(".")[0])
    if not options:
        return
    compiler: Any = importlib.import_module("jax._src.compiler")
    full = compiler.get_compile_options

    def light(*rest: Any, env_options_overrides: Any = None, **named: Any) -> Any:
        given = env_options_overrides or {}
        if jax.config.read(LIGHT):
            given = options | given
        return full(*rest, env_options_overrides=given, **named)

    compiler.get_compile_options = light
