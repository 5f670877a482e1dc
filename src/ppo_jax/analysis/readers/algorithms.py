"""Which algorithm wrote a log: its columns decide."""

from __future__ import annotations

from collections.abc import Iterable

from ppo_jax.analysis.readers.names import plain_name
from ppo_jax.types import PPOJaxError

__all__ = ["check_is_ppo", "other_algorithm"]

# Names, or their last parts. One of these is enough to be PPO.
PPO = frozenset(
    [
        "approx_kl",
        "clip_fraction",
        "clip_range",
        "policy_gradient_loss",
        "approxkl",
        "clipfrac",
        "approximate_kullback-leibler",
        "clip_factor",
        "loss_pol_surr",
        "kl",
        "mean_kl_loss",
    ]
)
# Otherwise the first of these that has a name in each of its parts.
OTHERS = (
    ("SAC, TQC or CrossQ", {"actor_loss", "qf1_loss"}, {"critic_loss", "qf1_loss"}, {"ent_coef", "ent_coef_loss"}),
    ("SAC", {"actor_loss"}, {"alpha", "alpha_loss", "alpha_value"}),
    ("TD3 or DDPG", {"actor_loss", "loss_actor"}, {"critic_loss", "loss_critic", "qf1_loss"}),
    ("TRPO", {"kl_divergence_loss", "is_line_search_success", "meankl", "surrgain"}),
    ("DQN or QR-DQN", {"exploration_rate", "td_loss", "mean_q", "q_values", "% time spent exploring"}),
    ("ARS", {"delta_std", "step_size"}),
    ("A2C", {"train/policy_loss"}),
    ("A2C", {"policy_entropy"}, {"value_loss"}),
    ("A2C or IMPALA", {"learner/policy_loss"}),
    ("an off-policy algorithm", {"time/episodes", "episodes"}, {"train/loss", "n_updates"}),
)
COLUMNS_OF_PPO = "approx_kl, clip_fraction, entropy_loss and explained_variance"


def other_algorithm(names: Iterable[str]) -> tuple[str, tuple[str, ...]] | None:
    """The algorithm that these names are of and those that tell it; None where they may be PPO's."""
    forms: dict[str, str] = {}
    for name in map(plain_name, names):
        forms |= dict.fromkeys((name, name.rsplit("/", 1)[-1], plain_name(name, "rllib")), name)
    if PPO & forms.keys():
        return None
    for algorithm, *parts in OTHERS:
        if all(part & forms.keys() for part in parts):
            return algorithm, tuple(dict.fromkeys(forms[min(part & forms.keys())] for part in parts))
    return None


def check_is_ppo(place: object, names: Iterable[str]) -> None:
    """Make sure that the names of a log are not those of another algorithm.

    Raises:
        PPOJaxError: they are; says which and what tells it.
    """
    if other := other_algorithm(names):
        algorithm, seen = other
        raise PPOJaxError(f"{place}: not PPO but {algorithm}: it has {', '.join(seen)}, and no {COLUMNS_OF_PPO}")
