"""A trained policy that proves ground queries and answers open ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppo_jax.proving.answers.task import AnswerTask
from ppo_jax.proving.task import ProofTask
from ppo_jax.results import look_up
from ppo_jax.runs import files, runner
from ppo_jax.runs.experiment import Experiment, PolicyParams
from ppo_jax.types import PPOJaxError

__all__ = ["Prover", "load_prover"]


@dataclass(frozen=True)
class Prover:
    """What a run learned of a knowledge graph, to be asked."""

    experiment: Experiment  # of the run
    params: PolicyParams  # of its policy
    sharpness: float = 1.0  # what the policy's logits are multiplied by in a ranking
    combined: Mapping[str, Any] | None = None  # how proofs, rules and prior were combined in the run

    def prove(self, query: str) -> dict[str, Any]:
        """An attempt at a proof of a ground atom such as ``"locatedInCR(france,europe)"``, as JSON data.

        Returns:
            ``query``, ``proved``, ``stopped_by`` (what ended an attempt that is no proof, else None) and ``steps``,
            each with ``action``, ``probability``, ``facts`` and ``resolvent``. Of a run that answers open queries also
            ``asked_as``, the query with its last argument open, and ``probability``, of all proofs within the beam, as
            `ask` gives it; the steps are those of the most probable.

        Raises:
            PPOJaxError: a query the knowledge base cannot read.
        """
        task = self.experiment.task
        if isinstance(task, AnswerTask):
            return task.prove(self.experiment.policy, self.params, query, sharpness=self.sharpness)
        assert isinstance(task, ProofTask)
        return task.prove(self.experiment.policy, self.params, query)

    def ask(self, query: str, top: int = 10, *, proofs_alone: bool = False) -> dict[str, Any]:
        """Ranked answers to a query with one variable such as ``"ancestorOf(ann, X)"``, as JSON data.

        Args:
            query: the variable begins with a capital, ``_`` or ``?``. Of a ground query the last argument is asked for,
                and of the answers that one alone is given.
            top: answers at most.
            proofs_alone: rank by the probability of the proofs, in place of the run's combined score.

        Returns:
            ``query``; ``answers``, each with its ``rank`` among all (None: nothing speaks for it), ``answer``,
            ``probability`` of its proofs, ``known`` (whether a training fact says so), ``steps``, its most probable
            proof, and where scores are combined ``score``, ``parts`` (what rules say, a probability, and the prior, the
            logarithm of one) and ``contributions`` (what each adds to the score); ``unexplored``, the probability
            that was not followed; and of combined scores ``weights`` of the sum, and ``rules_known``: how many rules
            the part ``rules`` counts, and how many a proof may take.

        Raises:
            PPOJaxError: a query the knowledge base cannot read, or a run that learned to verify ground queries.
        """
        task = self.experiment.task
        if not isinstance(task, AnswerTask):
            raise PPOJaxError(
                "this run learned to verify ground queries; train one with `--set mode=answer` to ask it for answers"
            )
        combined = None if proofs_alone else self.combined
        policy, sharpness = self.experiment.policy, self.sharpness
        return task.ask(policy, self.params, query, sharpness=sharpness, top=top, combined=combined)


def load_prover(run: str | Path, which: str = "best", assignments: Any = (), *, trust: bool = False) -> Prover:
    """The prover of a run over a knowledge graph.

    Args:
        run: folder of a run.
        which: the parameters ``"best"`` on valid, or the ``"last"`` ones.
        assignments: settings of the evaluation other than the run's, such as ``["beam_width=256"]``.
        trust: consent to the code that the run names, where it was not made here.

    Raises:
        PPOJaxError: no run there, code without consent, or one of another task.
    """
    experiment, params = runner.load(run, which, assignments, trust=trust)
    if not isinstance(experiment.task, ProofTask | AnswerTask):
        raise PPOJaxError(f"{experiment.config.task.env_id}: no proof task, there is nothing to prove")
    summary = files.read_summary(Path(run))
    chosen = look_up(summary, "test", "answers", "sharpness")
    with files.as_written(Path(run) / "summary.json"):
        sharpness = 1.0 if chosen is None else float(chosen)
    return Prover(experiment, params, sharpness, look_up(summary, "test", "combined"))
