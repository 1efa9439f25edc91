"""A trace of a step and its table of costs."""

import jax
import jax.numpy as jnp
import pytest
from rich.console import Console

from lion_jax.training import profiling

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A traced program in which one product outweighs everything else."""

    def step(x):
        with jax.named_scope("heavy"):
            x = x @ x @ x
        with jax.named_scope("light"):
            return jnp.sin(x[:8, :8]).sum()

    x = jnp.ones((512, 512))
    compiled = jax.jit(step).lower(x).compile()
    folder = tmp_path_factory.mktemp("trace")
    (folder / "older").touch()
    profiling.record(folder, lambda: compiled(x).block_until_ready())
    return folder, compiled


def test_the_trace_is_what_the_viewers_open(recorded):
    folder, _ = recorded
    names = [path.name for path in folder.glob("plugins/profile/*/*")]
    assert any(name.endswith(".xplane.pb") for name in names)  # TensorBoard, XProf
    assert any(name.endswith(".trace.json.gz") for name in names)  # chrome://tracing
    assert "perfetto_trace.json.gz" in names
    assert not (folder / "older").exists()


def test_the_costliest_operation_comes_first_and_says_where_it_is_from(recorded):
    costs = profiling.most_expensive(*recorded)
    assert [c.seconds for c in costs] == sorted(
        (c.seconds for c in costs), reverse=True
    )
    assert "heavy" in costs[0].origin
    assert all(cost.calls == 1 for cost in costs)
    assert profiling.most_expensive(*recorded, n=1) == costs[:1]
    (half,) = profiling.most_expensive(*recorded, n=1, steps=2 * profiling.STEPS)
    assert half.seconds == pytest.approx(costs[0].seconds / 2)
    assert half.calls == 0.5


def test_a_librarys_call_has_the_origin_of_its_operation():
    origins = {"custom-call.1": "jit(f)/heavy/dot", "a__b": "jit(f)/named"}
    assert profiling.origin_of("custom-call.1__onednn$matmul", origins).endswith("dot")
    assert profiling.origin_of("a__b", origins) == "jit(f)/named"
    assert profiling.origin_of("copy.2", origins) == ""


def test_the_table_names_scopes_not_programs():
    costs = [
        profiling.Cost("dot.1", 0.0125, 2, "jit(f)/jvp(block0)/cond/branch_0_fun/dot"),
        profiling.Cost("copy", 0.001, 1, ""),
    ]
    console = Console(width=80)
    with console.capture() as captured:
        console.print(profiling.table(costs))
    rows = [line.split("│") for line in captured.get().splitlines() if "│" in line]
    assert [[cell.strip() for cell in row[1:-1]] for row in rows] == [
        ["12.50", "2", "dot.1", "jvp(block0)/dot"],
        ["1.00", "1", "copy", ""],
    ]
