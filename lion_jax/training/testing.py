"""The test set's only use: the best and the last state of a run, at its end."""

from typing import Any

from lion_jax.files import finite
from lion_jax.interruption import Interrupted
from lion_jax.training import averaging, checkpoint, classes, history
from lion_jax.training.checkpoint import Checkpoints
from lion_jax.training.console import Print
from lion_jax.training.history import History, Result
from lion_jax.training.program import Program
from lion_jax.training.state import TrainState

FIGURES = ("test_loss", "test_accuracy")


def best_and_last(
    program: Program,
    checkpoints: Checkpoints,
    state: TrainState,
    records: History,
    interrupted: Interrupted,
) -> dict[str, Any]:
    """Evaluates the best and the last state on the test split.

    Args:
      program: The run's.
      checkpoints: The run's, of which the best is restored.
      state: The last state.
      records: All epochs.
      interrupted: Ends the evaluation early; the figures are then of no use.

    Returns:
      The fields of a `Result` that are figures of the test set; None for a state that
      there is not, or that diverged.

    Raises:
      CheckpointError: If the best state is lost.
    """
    figures: dict[str, Any] = dict.fromkeys(FIGURES)

    def test(params: Any, batch_stats: Any) -> dict[str, Any]:
        sums = program.evaluate(params, batch_stats, "test", interrupted)
        if interrupted():
            return {}
        by_class = classes.figures(sums, program.signature.class_names)
        return dict(zip(FIGURES, sums.means(), strict=True)) | by_class

    step = checkpoint.find(checkpoints, "best")
    best = history.best(records)
    if step != (wanted := best and best.step):
        raise checkpoint.CheckpointError(
            f"{checkpoints.folder}: the best state, of step {wanted}, is lost (its"
            " checkpoint was damaged or removed); restore it from a copy, or"
            " begin anew in another folder."
        )
    if step is not None:
        figures |= test(*checkpoint.restore_model(checkpoints, step, program.abstract))
    last = figures
    if step != int(state.step):
        diverged = history.diverged(records)
        last = {} if diverged else test(*averaging.evaluated(state))
    return finite(figures | {f"last_{name}": last.get(name) for name in FIGURES})


def report(say: Print, result: Result) -> None:
    """Prints the test figures of a finished run."""
    for name, epoch, accuracy in (
        ("best", result.best_epoch, result.test_accuracy),
        ("last", result.stopped_epoch, result.last_test_accuracy),
    ):
        if accuracy is None:
            say(f"{name} state: not evaluated")
        else:
            say(f"{name} state (epoch {epoch}): test accuracy {accuracy:.2%}")
    if weakest := classes.worst(result.test_class_accuracy or {}):
        words = "of the best state, the weakest class is {}: {:.2%}".format(*weakest)
        top5 = result.test_top5_accuracy
        say(words + (f"; top-5 accuracy {top5:.2%}" if top5 is not None else ""))
