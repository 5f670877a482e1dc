"""The sections of a configuration: every key with its type, range, default and meaning.

The text under a key is what `ppo-jax config` prints of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec

from ppo_jax.config.hyperparams import RATE_LIMITS

__all__ = [
    "ENVIRONMENT_KEYS",
    "PROOF_KEYS",
    "WRAPPERS",
    "EvaluationConfig",
    "NetworkConfig",
    "PPOConfig",
    "RunConfig",
    "ScheduleConfig",
    "TaskConfig",
]

Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Steps = Annotated[int, msgspec.Meta(ge=1, le=10**15)]
Natural = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
# What no memory or patience would hold is refused at once, and not by whatever overflows first.
Width = Annotated[int, msgspec.Meta(ge=1, le=2**16)]
Layers = Annotated[int, msgspec.Meta(ge=0, le=256)]
Depth = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Many = Annotated[int, msgspec.Meta(ge=1, le=2**20)]
Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
NonNegative = Annotated[float, msgspec.Meta(ge=0.0, le=1e30)]


@dataclass(frozen=True)
class ScheduleConfig:
    """A setting that changes over training: from `init` at fraction `start` to `final` at `end`.

    With shape `kl_adaptive` a learning rate that begins at `init` and follows the KL of the updates to `desired_kl`.
    """

    init: NonNegative
    """Value at the start."""
    final: NonNegative | None = None
    """Value at the end."""
    shape: Literal["constant", "linear", "cosine", "exponential", "kl_adaptive"] = "linear"
    """The way from one to the other; `constant` stays at `init`, `kl_adaptive` follows the KL."""
    start: Fraction = 0.0
    """Fraction of training at which the value begins to change."""
    end: Fraction = 1.0
    """Fraction of training from which it is `final`."""
    warmup: Fraction = 0.0
    """Fraction of training over which the value first rises linearly from zero."""
    desired_kl: Positive | None = None
    """KL of an update that `kl_adaptive` keeps to."""

    def __post_init__(self) -> None:
        adaptive = self.shape == "kl_adaptive"
        if not adaptive and self.final is None:
            raise ValueError("Object missing required field `final`")
        if not adaptive and self.desired_kl is not None:
            raise ValueError('desired_kl belongs to shape = "kl_adaptive"')
        if adaptive and (self.desired_kl is None or (self.final, self.start, self.end, self.warmup) != (None, 0, 1, 0)):
            raise ValueError('write { shape = "kl_adaptive", init = 3e-4, desired_kl = 0.01 }, these three and no more')
        least, most = RATE_LIMITS
        if adaptive and not least <= self.init <= most:
            raise ValueError(f"init = {self.init:g} must lie in what KL moves it in, {least:g} to {most:g}")


Scheduled = NonNegative | ScheduleConfig


@dataclass(frozen=True)
class TaskConfig:
    """What is to be learnt: an environment id, or a folder with a knowledge graph."""

    env_id: str | None = None
    """gymnax id, `suite/name`, `Proof-<dataset>`, or the import path `package.module:factory` of an environment of your
    own."""
    env_params: dict[str, bool | int | float | str] | None = field(default=None, hash=False)  # a dict has no hash
    """Parameters of the environment other than its own defaults: `env_params.size=20`, or a table [task.env_params].
    One of your own by import path gets them as arguments."""
    action_repeat: Count | None = None
    """Take each action so many times, and add up what it earns."""
    time_limit: Count | None = None
    """Steps after which an episode is cut (truncated), counted as the policy takes them."""
    frame_stack: Count | None = None
    """Observe so many of the last observations at once."""
    optimistic_resets: Count | None = None
    """Draw one fresh episode a step for so many environments, which those that ended share; for suites with expensive
    resets, such as Craftax with 16."""
    squash_actions: bool = False
    """Bring continuous actions into their bounds by tanh rather than by clipping."""
    clip_rewards: Positive | None = None
    """Clip rewards to plus and minus this in training; returns are reported, and policies judged, without."""
    dataset: str | None = None
    """Folder of a knowledge graph (facts, rules, queries); instead of `env_id`."""
    rules: str = "rules.txt"
    """Name of the rule file in the dataset folder, or the path of another."""
    columns: Literal["hrt", "rht", "htr"] | None = None
    """Order of the columns of triples: head, relation, tail; by default what a header says, else hrt."""
    max_rules: Count = 64
    """Rules of a predicate that a policy may take, the surest, those without constants first; the score by rules has
    all (`answer`)."""
    prior: str | None = None
    """Embeddings that rank answers beside the proofs: a file that `ppo-jax embed` wrote, or a folder of RotatE's code
    or of PyKEEN (`answer`)."""
    mode: Literal["answer", "verify"] | None = None
    """`answer`: search the constants that answer a query with a variable; `verify`: prove ground queries, true and
    false ones. By default `answer` for a folder and `verify` for an `env_id`."""
    reward: Literal["prove", "sound", "decide", "strict", "verify", "refuse"] = "verify"
    """What the end of a proof task's episode pays (the table in docs/concepts/proving.md)."""
    wrong_answer: NonNegative = 0.0
    """What an answer costs that no training fact knows (`answer`)."""
    shaping: NonNegative = 0.0
    """Pay this times the change of a potential: the probability that `prior` gives the answer of a resolvent, once it
    is bound. Whole episodes pay what they did, and the best policy stays the best (`answer`)."""
    max_depth: Depth | None = None
    """Proof steps before an episode ends as not proved; by default 20, in `answer` mode 5."""
    max_atoms: Annotated[int, msgspec.Meta(ge=2, le=1024)] | None = None
    """Atoms a resolvent can hold, inequalities among them; longer successors are dropped and counted. By default 6, in
    `answer` mode more where the longest rule needs it."""
    max_successors: Many | None = None
    """Cap on the actions of a state besides `end`; by default none, in `answer` mode 256. Where more facts match, so
    many are drawn anew in each episode (`answer`), or the first ones are taken. Fewer where no state of the graph can
    have as many; captions tell these."""
    negative_ratio: Natural = 1
    """Corrupted queries for each true one."""
    corrupt: Literal["tail", "head", "both"] | None = None
    """Which argument corruptions replace; by default the data set's own."""
    end_action: bool = True
    """Offer `end`, to give up."""
    collapse_proved: bool = True
    """Where some successor is a proof, it is the one valid action."""
    prune_visited: bool = True
    """Leave out successors visited before in the episode."""
    fact_dropout: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.0
    """Share of the facts of predicates with rules that a training episode does without; evaluation has all."""


@dataclass(frozen=True)
class PPOConfig:
    """The algorithm; names and meanings are Stable-Baselines3's where it has them."""

    total_timesteps: Steps = 100_000
    """Environment steps of the whole run, rounded up to whole updates."""
    n_envs: Count = 64
    """Environments stepped side by side."""
    n_steps: Count = 128
    """Steps of each environment in a rollout."""
    n_epochs: Count = 4
    """Passes over a rollout."""
    batch_size: Count = 2048
    """Transitions in a minibatch; must divide n_envs * n_steps."""
    learning_rate: Scheduled = 3e-4
    """Of Adam. Any scheduled setting is a number or a table { init, final, shape, start, end, warmup }; a learning rate
    may follow the KL: { shape = "kl_adaptive", init = 3e-4, desired_kl = 0.01 }."""
    critic_learning_rate: Scheduled | None = None
    """For the parameters of modules named `critic…`; by default `learning_rate`."""
    gamma: Fraction = 0.99
    """Discount of a step."""
    gae_lambda: Fraction = 0.95
    """Of generalised advantage estimation: 0 trusts the critic, 1 the returns."""
    clip_range: Scheduled = 0.2
    """How far an action's probability may move from the rollout's, as a ratio; scheduled."""
    clip_range_vf: Positive | None = None
    """Clip of the value's change from the rollout's; in the units of the value network's output."""
    ent_coef: Scheduled = 0.0
    """Weight of the entropy in the loss; scheduled."""
    vf_coef: NonNegative = 0.5
    """Weight of the value loss."""
    max_grad_norm: Positive = 0.5
    """Largest global norm of the gradient; inf switches the clip off."""
    target_kl: Positive | None = None
    """Stop the update's epochs where the approximate KL exceeds 1.5 times this."""
    sequence_length: Count | None = None
    """Steps of the sequences that minibatches are made of; must divide n_steps. By default 1 without a recurrent core,
    and with one the largest divisor of n_steps and batch_size up to 16. A network of your own with memory sets it."""
    loss: str | None = None
    """Import path `package.module:loss` of a loss of your own, in place of PPO's
    (docs/how_to/change_the_algorithm.md)."""
    loss_coefs: dict[str, float] | None = field(default=None, hash=False)
    """Numbers that a loss of your own reads as `hyperparams.loss_coefs["name"]`: `loss_coefs.name=0.1`, or a table;
    they are traced, as the learning rate is."""
    optimizer: str | None = None
    """Import path `package.module:make` of a function that returns an optax optimizer, in place of Adam."""
    normalize_advantage: bool = True
    """Standardise the advantages of each minibatch."""
    bootstrap_truncation: bool = True
    """Add the value of the final observation where a time limit cut the episode."""
    normalize_observations: bool = False
    """Standardise observations by their running mean and variance. Whole numbers, such as images of uint8, stay."""
    normalize_rewards: bool = False
    """Divide rewards by the running standard deviation of the discounted return."""
    normalize_values: bool = False
    """Let the critic predict standardised returns."""


@dataclass(frozen=True)
class NetworkConfig:
    """The actor-critic."""

    network: str = "auto"
    """`mlp`, `cnn`, `proof_actions`, `proof_successors`, or the import path `package.module:Network` of your own."""
    hidden_sizes: tuple[Width, ...] = (64, 64)
    """Widths of the hidden layers."""
    activation: Literal["tanh", "relu", "gelu"] = "tanh"
    """Between the layers."""
    residual_layers: Layers = 0
    """Residual blocks after the hidden layers, each as wide as the last of them."""
    separate_critic: bool = True
    """Give the critic a trunk of its own."""
    log_std_init: float = 0.0
    """Logarithm of the standard deviation that continuous actions start with."""
    state_dependent_std: bool = False
    """Make the standard deviation of continuous actions from the observation, rather than the same everywhere."""
    dtype: Literal["bfloat16"] | None = None
    """`bfloat16`: layers compute in it, for accelerators; parameters, heads, memory and loss stay float32. By
    default all is float32."""
    embedding_size: Width = 64
    """Width of the embeddings of constants, predicates and actions (proof networks)."""
    constants: bool | None = None
    """Give each constant an embedding of its own (proof networks); by default in `verify` mode alone. Otherwise all
    constants look alike, and a policy learns how predicates and rules go together."""
    initial_embeddings: Literal["prior"] | None = None
    """`prior`: embeddings of predicates, and of constants where they have some, begin as the leading principal
    components of those of the prior (proof networks, `answer`); by default drawn."""
    fact_layers: Layers = 0
    """Layers in which the embedding of a constant to be bound takes in its background facts (`proof_actions`)."""
    core: Literal["gru", "lstm"] | None = None
    """Recurrent core between encoder and heads, for tasks that need memory; by default none."""
    core_size: Width = 64
    """Width of the recurrent core."""


@dataclass(frozen=True)
class EvaluationConfig:
    """How a policy is judged (docs/concepts/evaluation.md)."""

    eval_interval: Natural = 0
    """Updates between evaluations during training; 0 evaluates at the end alone."""
    eval_episodes: Count = 128
    """Episodes of an evaluation (tasks other than proving)."""
    sample_actions: bool = False
    """Draw the actions of these episodes, as in training, in place of the most likely ones. Where a task needs chance,
    as Craftax does, the most likely action is stuck again and again."""
    beam_width: Many = 64
    """Derivations of a query that go on at each step of a beam search (`marginal`, `answers`)."""
    sharpness: tuple[NonNegative, ...] = (0.25, 0.5, 1.0)
    """What the policy's logits are multiplied by in a ranking (`marginal`, `answers`); of several the one best on
    valid."""
    n_corruptions: Count | None = None
    """Corruptions sampled per query and argument; by default all."""
    mask_end: bool = False
    """Never choose `end` in greedy proofs while another action is open."""
    n_queries: Count | None = None
    """Queries of a split used, a sample of them; by default all."""
    n_valid_queries: Count | None = None
    """Queries of valid used, which is judged again and again; by default as many as `n_queries`."""
    untrained_networks: Natural | None = None
    """Fresh networks of the untrained baseline, by default 20, as what one chooses greedily is an accident (MRR
    0.60 ± 0.15), of which 3 by the marginal protocol; where queries are answered 3."""

    def n_queries_of(self, split: str) -> int | None:
        """Queries of a split that are used; None: all."""
        return self.n_valid_queries if split == "valid" and self.n_valid_queries else self.n_queries


@dataclass(frozen=True)
class RunConfig:
    """The run itself: seed and what is written."""

    seed: Natural = 0
    """Decides everything random in the run."""
    tensorboard: bool = False
    """Also write TensorBoard files (needs the extra `tensorboard`)."""
    wandb: bool = False
    """Also log to Weights & Biases (needs the extra `wandb`)."""
    wandb_project: str = "ppo_jax"
    """Project there."""
    checkpoint_interval: Natural = 0
    """Updates between checkpoints to resume from; 0: by time alone."""
    checkpoint_minutes: NonNegative = 1.0
    """Minutes between them; 0: by updates alone. With both at 0 the end alone is kept."""
    checkpoint_keep: Count = 2
    """Checkpoints kept, the newest."""
    devices: Count | None = None
    """Devices that the environments are split over; by default those of all processes that train together, one
    accelerator, or for a long run as many virtual devices of a processor as its cores and minibatches are worth."""
    threads: Count | None = None
    """Threads that XLA gives a program on a CPU; by default as many as there are cores. With 1, small networks and few
    environments train up to 1.5 times as fast, with the same results. XLA reads it as NPROC when it starts: in a
    program of your own set that in the environment."""
    on_nan: Literal["stop", "skip"] = "stop"
    """Where a loss or a parameter is not finite: stop the run, or drop that update and go on."""


# What only one kind of task reads: its runs alone write these, unless they are set.
WRAPPERS = frozenset(
    {"action_repeat", "time_limit", "frame_stack", "optimistic_resets", "squash_actions", "clip_rewards"}
)
PROOF_KEYS = frozenset(TaskConfig.__dataclass_fields__) - WRAPPERS - {"env_id", "env_params"} | {
    *("embedding_size", "constants", "initial_embeddings", "fact_layers"),
    *("beam_width", "sharpness", "n_corruptions", "mask_end", "n_queries", "n_valid_queries", "untrained_networks"),
}
ENVIRONMENT_KEYS = WRAPPERS | {
    *(
        "env_params",
        "core",
        "core_size",
        "log_std_init",
        "state_dependent_std",
        "dtype",
        "eval_episodes",
        "sample_actions",
    ),
}
