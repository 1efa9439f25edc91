"""Where users of optax.lion stand: each function trains there, and returns weights.

A setup takes `make`, which makes the optimizer from its keyword arguments, and a dtype
of the weights. All train WEIGHTS for STEPS steps with the gradients of `loss`, whose
signs do not change, so that all optimizers of Lion's kind move every weight alike.
"""

import equinox as eqx
import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from flax.training.train_state import TrainState
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from orbax.checkpoint import v1 as ocp

STEPS = 3
RATE, DECAY = 2.0**-6, 0.5  # exact in bfloat16
RNG = np.random.default_rng(0)
KERNEL = RNG.choice([-1.0, 1.0], (64, 64)) * RNG.uniform(1, 2, (64, 64))
BIAS = np.linspace(-2, -1, 64)
SETUPS = {}


def setup(name):
    def register(function):
        SETUPS[name] = function
        return function

    return register


def weights(dtype):
    return {"w": jnp.asarray(KERNEL, dtype), "b": jnp.asarray(BIAS, dtype)}


def loss(params):
    """Half the squares of all weights: its gradient is the weights."""
    squares = jax.tree.map(lambda p: (p * p).astype(jnp.float32).sum(), params)
    return 0.5 * sum(jax.tree.leaves(squares))


def stepped(tx, params, state):
    updates, state = tx.update(jax.grad(loss)(params), state, params)
    return optax.apply_updates(params, updates), state


def trained(tx, params, state=None, steps=STEPS):
    """The weights and the state after some steps."""
    state = jax.jit(tx.init)(params) if state is None else state
    step = jax.jit(lambda p, s: stepped(tx, p, s))
    for _ in range(steps):
        params, state = step(params, state)
    return params, state


def mesh():
    return jax.make_mesh((8,), ("d",), (AxisType.Auto,))


@setup("plain Optax loop")
def plain(make, dtype):
    return trained(make(), weights(dtype))[0]


@setup("`optax.chain` with clipping by global norm")
def clipped(make, dtype):
    return trained(optax.chain(optax.clip_by_global_norm(1e9), make()), weights(dtype))[
        0
    ]


@setup("`flax.nnx.Optimizer`")
def nnx_optimizer(make, dtype):
    model = nnx.Linear(64, 64, param_dtype=dtype, rngs=nnx.Rngs(0))
    model.kernel[...], model.bias[...] = weights(dtype)["w"], weights(dtype)["b"]
    trainer = nnx.Optimizer(model, make(), wrt=nnx.Param)

    @nnx.jit
    def step(model, trainer):
        grads = nnx.grad(lambda m: loss({"w": m.kernel[...], "b": m.bias[...]}))(model)
        trainer.update(model, grads)

    for _ in range(STEPS):
        step(model, trainer)
    return {"w": model.kernel[...], "b": model.bias[...]}


def linen(make, dtype, axes):
    def create():
        boxed = {
            "w": nn.Partitioned(weights(dtype)["w"], names=axes),
            "b": nn.Partitioned(weights(dtype)["b"], names=(None,)),
        }
        return TrainState.create(apply_fn=None, params=boxed, tx=make())

    places = nn.get_sharding(jax.eval_shape(create), mesh())
    state = jax.jit(create, out_shardings=places)()
    step = jax.jit(lambda s: s.apply_gradients(grads=jax.grad(loss)(s.params)))
    for _ in range(STEPS):
        state = step(state)
    return nn.unbox(state.params)


@setup("Linen `TrainState`, kernels partitioned by rows on 8 devices")
def linen_rows(make, dtype):
    return linen(make, dtype, ("d", None))


@setup("Linen `TrainState`, kernels partitioned by columns on 8 devices")
def linen_columns(make, dtype):
    return linen(make, dtype, (None, "d"))


class Layer(eqx.Module):
    """A module that can be called, with a part that is None and one that is static."""

    w: jax.Array
    b: jax.Array
    scale: jax.Array | None
    activation: object

    def __call__(self, x):
        return x @ self.w + self.b


@setup("Equinox module with None, static parts and a mask that is a module")
def equinox(make, dtype):
    layer = Layer(**weights(dtype), scale=None, activation=jax.nn.relu)
    params, static = eqx.partition(layer, eqx.is_inexact_array)
    tx = make(mask=jax.tree.map(lambda p: True, params))
    params, _ = trained(tx, params)
    layer = eqx.combine(params, static)
    return {"w": layer.w, "b": layer.b}


@setup("`optax.partition` with a frozen part")
def partition(make, dtype):
    params = weights(dtype) | {"frozen": jnp.ones((64, 64), dtype)}
    labels = {"w": "train", "b": "train", "frozen": "freeze"}
    tx = optax.partition({"train": make(), "freeze": optax.set_to_zero()}, labels)
    params, _ = trained(tx, params)
    np.testing.assert_array_equal(params.pop("frozen"), 1)
    return params


@setup("`optax.masked`")
def masked(make, dtype):
    tx = optax.chain(
        optax.masked(make(), {"w": True, "b": False}),
        optax.masked(make(), {"w": False, "b": True}),
    )
    return trained(tx, weights(dtype))[0]


@setup("`optax.MultiSteps`")
def multi_steps(make, dtype):
    tx = optax.MultiSteps(make(), every_k_schedule=1)
    return trained(tx.gradient_transformation(), weights(dtype))[0]


@setup("`optax.inject_hyperparams`")
def injected(make, dtype):
    def factory(learning_rate, b1, b2, weight_decay):
        return make(
            learning_rate=learning_rate, b1=b1, b2=b2, weight_decay=weight_decay
        )

    tx = optax.inject_hyperparams(factory)(RATE, 0.9, 0.99, DECAY)
    return trained(tx, weights(dtype))[0]


@setup("`optax.apply_if_finite`")
def apply_if_finite(make, dtype):
    return trained(optax.apply_if_finite(make(), 3), weights(dtype))[0]


@setup("`optax.contrib.schedule_free`")
def schedule_free(make, dtype):
    tx = optax.contrib.schedule_free(make(), RATE, b1=0.5)
    return trained(tx, weights(dtype))[0]


@setup("`optax.lookahead`")
def lookahead(make, dtype):
    tx = optax.lookahead(make(), sync_period=2, slow_step_size=0.5)
    params = optax.LookaheadParams.init_synced(weights(dtype))
    state = tx.init(params)
    for _ in range(STEPS):
        updates, state = tx.update(jax.grad(loss)(params.fast), state, params)
        params = optax.apply_updates(params, updates)
    return params.fast


@setup("placed by `optax.tree.map_params` on 8 devices")
def map_params(make, dtype):
    tx, everywhere = make(), NamedSharding(mesh(), PartitionSpec())
    columns = NamedSharding(mesh(), PartitionSpec(None, "d"))
    places = {"w": columns, "b": NamedSharding(mesh(), PartitionSpec("d"))}
    params = jax.device_put(weights(dtype), places)
    state = optax.tree.map_params(
        tx,
        jax.device_put,
        tx.init(weights(dtype)),
        places,
        transform_non_params=lambda x: jax.device_put(x, everywhere),
    )
    params, _ = trained(tx, params, state)
    assert params["w"].sharding.is_equivalent_to(columns, 2)
    return params


@setup("Orbax round trip")
def orbax(make, dtype, *, folder):
    params, state = trained(make(), weights(dtype), steps=STEPS - 1)
    ocp.save(folder / "state", state)
    state = ocp.load(folder / "state", jax.tree.map(jnp.zeros_like, state))
    return trained(make(), params, state, steps=1)[0]


@setup("msgpack round trip")
def msgpack(make, dtype):
    params, state = trained(make(), weights(dtype), steps=STEPS - 1)
    blob = flax.serialization.to_bytes(state)
    state = flax.serialization.from_bytes(make().init(params), blob)
    return trained(make(), params, state, steps=1)[0]


@setup("`jax.vmap` over members")
def vmap(make, dtype):
    tx = make()
    members = jax.tree.map(lambda p: jnp.stack([p, 2 * p]), weights(dtype))
    state = jax.vmap(tx.init)(members)
    step = jax.jit(jax.vmap(lambda p, s: stepped(tx, p, s)))
    for _ in range(STEPS):
        members, state = step(members, state)
    return jax.tree.map(lambda p: p[0], members)


@setup("`jax.lax.scan` with donation")
def scan(make, dtype):
    tx = make()

    def run(params, state):
        carry, _ = jax.lax.scan(
            lambda c, _: (stepped(tx, *c), None), (params, state), length=STEPS
        )
        return carry

    params = weights(dtype)
    return jax.jit(run, donate_argnums=(0, 1))(params, tx.init(params))[0]


@setup("`jax.export`")
def export(make, dtype):
    tx, params = make(), weights(dtype)
    leaves, structure = jax.tree.flatten(tx.init(params))

    def step(params, leaves):
        params, state = stepped(tx, params, structure.unflatten(leaves))
        return params, jax.tree.leaves(state)

    blob = jax.export.export(jax.jit(step))(params, leaves).serialize()
    loaded = jax.export.deserialize(blob)
    for _ in range(STEPS):
        params, leaves = loaded.call(params, leaves)
    return params


@setup("`jax.shard_map`, weights cut by columns on 8 devices")
def shard_map(make, dtype):
    tx, params = make(), weights(dtype)
    specs = {"w": PartitionSpec(None, "d"), "b": PartitionSpec("d")}
    state = tx.init(params)
    cut = optax.tree.map_params(
        tx,
        lambda _, spec: spec,
        state,
        specs,
        transform_non_params=lambda _: PartitionSpec(),
    )

    def step(params, state):
        updates, state = tx.update(params, state, params)  # the gradient of `loss`
        return optax.apply_updates(params, updates), state

    step = jax.jit(
        jax.shard_map(step, mesh=mesh(), in_specs=(specs, cut), out_specs=(specs, cut))
    )
    for _ in range(STEPS):
        params, state = step(params, state)
    return params
