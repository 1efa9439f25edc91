"""Votes of devices on signs: one bit per value, counted in one exchange of each kind.

All arrays are one row of votes, of which device i counts the i-th part and sends the
outcome to all: one all-to-all and one all-gather in a step. Each device sends and
receives 1 bit per value in the votes, and in the outcomes

- 2 of a majority where ties stand, for minus, plus or tie. An odd number of devices has
  no ties, and 1 is enough, as it is where ties alternate;
- the digits of a count for a mean: 4 for 8 devices, 7 for 64.

A mean of float32 gradients takes 64 bits, 32 in its reduce-scatter and 32 in its
all-gather. Votes are counted in their bytes, eight at a time: a count is as many bytes
as it has binary digits, one for each digit, which binary addition and comparison act
upon.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float32, Int, UInt8

from lion_jax.optimizer.leaves import is_trainable

Rule = Literal["majority", "mean"]
Ties = Literal["stand", "alternate"]


class Vote(NamedTuple):
    """How devices vote on the steps of a run."""

    rule: Rule
    ties: Ties
    sync_every: int  # steps after which momenta are averaged; 0: never


def elect(
    signs: optax.Updates,
    count: Array,
    axis_name: str,
    vote: Rule = "majority",
    ties: Ties = "stand",
) -> optax.Updates:
    """Returns the directions that the devices vote for; inside of `jax.shard_map`.

    Args:
      signs: Each device's own directions: -1, 0, 1 or NaN in every value.
      count: Number of the step, which decides how a device votes that has a zero, and
        how ties alternate.
      axis_name: Name of the devices' axis.
      vote: As in `scale_by_distributed_lion`.
      ties: As in `scale_by_distributed_lion`.
    """
    if lax.axis_size(axis_name) == 1:
        return signs
    leaves, structure = jax.tree.flatten(signs)
    places = [i for i, leaf in enumerate(leaves) if is_trainable(leaf)]
    if not places:
        return signs
    votes, as_leaves = _flat([leaves[i] for i in places])
    even = (count + lax.axis_index(axis_name)) % 2 == 0
    nan = jnp.stack([jnp.isnan(leaves[i]).any() for i in places])
    plus = (votes > 0) | ((votes == 0) & even)
    if vote == "mean":
        outcome, nan = _counts(plus, nan, axis_name, _digits, _as_mean)
    elif ties == "alternate" or lax.axis_size(axis_name) % 2:
        outcome, nan = _counts(plus, nan, axis_name, _either(count % 2 == 0), _as_sign)
    else:
        outcome, nan = _counts(plus, nan, axis_name, _minus_and_plus, _as_signs)
    for i, elected, bad in zip(places, as_leaves(outcome), nan, strict=True):
        elected = elected.astype(leaves[i].dtype)
        leaves[i] = jnp.where(bad, jnp.full_like(elected, jnp.nan), elected)
    return structure.unflatten(leaves)


def bits(devices: int, vote: Rule, ties: Ties) -> int:
    """Returns how many bits per value a device sends, and receives, in a step."""
    if vote == "mean":
        return 1 + devices.bit_length()
    return 3 if ties == "stand" and devices % 2 == 0 else 2


def _flat(leaves: list[Array]) -> tuple[Int[Array, " n"], Callable[..., Any]]:
    """Joins the values of real leaves and the parts of complex ones, as one byte each.

    Returns:
      The row of values, NaN as 0, and the function that makes leaves of such a row.
    """

    def parts(leaf: Array) -> list[Array]:
        each = [leaf.real, leaf.imag] if jnp.iscomplexobj(leaf) else [leaf]
        return [jnp.nan_to_num(x).astype(jnp.int8).ravel() for x in each]

    row = jnp.concatenate([part for leaf in leaves for part in parts(leaf)])

    def as_leaves(outcome: Array) -> list[Array]:
        cut, start = [], 0
        for leaf in leaves:
            many = jnp.iscomplexobj(leaf)
            end = start + math.prod(leaf.shape) * (1 + many)
            piece = outcome[start:end].reshape((2,) * many + leaf.shape)
            if many:
                real, imaginary = piece.astype(jnp.float32)
                piece = lax.complex(real, imaginary)
            cut.append(piece)
            start = end
        return cut

    return row, as_leaves


def _counts(
    plus: Bool[Array, " n"],
    flags: Bool[Array, " k"],
    axis_name: str,
    decide: Callable[[Array, int], list[Array]],
    read: Callable[[list[Array], int], Array],
) -> tuple[Array, Array]:
    """Counts the devices' votes for plus, and which flags any of them raises.

    Args:
      plus: Whether this device votes for plus, for each of n values.
      flags: This device's.
      axis_name: Name of the devices' axis.
      decide: From the digits of a count, and the number of devices, to the rows of
        bits that tell its outcome.
      read: From these rows, as 0 or 1, and the number of devices to the outcome.

    Returns:
      The outcomes of n values; k flags.
    """
    devices = lax.axis_size(axis_name)
    part = 8 * -(-plus.size // (8 * devices))  # whole bytes for each device
    padded = jnp.pad(plus, (0, devices * part - plus.size))
    ballots = jnp.packbits(padded.reshape(devices, part), axis=-1)
    mine = lax.all_to_all(ballots, axis_name, split_axis=0, concat_axis=0)
    rows = decide(_counted(mine), devices)
    sent = jnp.concatenate([*rows, jnp.packbits(flags)])
    everyones = lax.all_gather(sent, axis_name)  # devices, bytes
    length = part // 8
    bits = [
        jnp.unpackbits(everyones[:, i * length : (i + 1) * length].reshape(-1))
        for i in range(len(rows))
    ]
    outcome = read([x[: plus.size].astype(jnp.int8) for x in bits], devices)
    raised = everyones[:, len(rows) * length :]
    raised = lax.reduce(raised, jnp.uint8(0), lax.bitwise_or, (0,))
    return outcome, jnp.unpackbits(raised)[: flags.size].astype(bool)


def _minus_and_plus(digits: UInt8[Array, "digits n"], devices: int) -> list[Array]:
    """Which have more votes for minus, and which for plus; neither is a tie."""
    minus = ~_at_least(digits, -(-devices // 2))
    return [minus, _at_least(digits, devices // 2 + 1)]


def _as_signs(bits: list[Array], devices: int) -> Int[Array, " n"]:
    del devices
    minus, plus = bits
    return plus - minus


def _either(ties_are_plus: Bool[Array, ""]) -> Callable[..., list[Array]]:
    """Which have more votes for plus, or half of the votes where that is plus."""

    def decide(digits: UInt8[Array, "digits n"], devices: int) -> list[Array]:
        more = _at_least(digits, devices // 2 + 1)
        half = _at_least(digits, -(-devices // 2))
        return [jnp.where(ties_are_plus, half, more)]

    return decide


def _as_sign(bits: list[Array], devices: int) -> Int[Array, " n"]:
    del devices
    return 2 * bits[0] - 1


def _digits(digits: UInt8[Array, "digits n"], devices: int) -> list[Array]:
    del devices
    return [*digits]


def _as_mean(bits: list[Array], devices: int) -> Float32[Array, " n"]:
    """The mean of votes of -1 and 1."""
    count = jnp.zeros(bits[0].shape, jnp.float32)
    for place, bit in enumerate(bits):
        count = count + 2.0**place * bit.astype(jnp.float32)
    return (2 * count - devices) / devices


def _counted(ballots: UInt8[Array, "devices n"]) -> UInt8[Array, "digits n"]:
    """Adds up, for each bit, in how many rows it is set; the lowest digit is first."""
    width = len(ballots).bit_length()

    def add(digits: Array, carry: Array) -> tuple[Array, None]:
        after = []
        for digit in digits:
            after.append(digit ^ carry)
            carry = digit & carry
        return jnp.stack(after), None

    # Not of a constant: inside of shard_map, it would be the same on all devices.
    nothing = jnp.stack([ballots[0] ^ ballots[0]] * width)
    digits, _ = lax.scan(add, nothing, ballots)
    return digits


def _at_least(digits: UInt8[Array, "digits n"], bound: int) -> UInt8[Array, " n"]:
    """Returns, for each bit, whether the number that its digits make is >= bound."""
    greater = digits[0] ^ digits[0]
    equal = ~greater
    for place in reversed(range(len(digits))):
        if bound >> place & 1:
            equal = equal & digits[place]
        else:
            greater = greater | (equal & digits[place])
            equal = equal & ~digits[place]
    return greater | equal
