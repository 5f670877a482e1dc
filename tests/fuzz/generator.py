"""Files and arguments that nobody should write, drawn from a seed: what is right, broken in a place or several.

A case is told by its kind and number alone, so one that fails can be made again.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.cli.console import PLACES

__all__ = ["KINDS", "Case", "make_case"]

SEED = 23

CONFIG = """
[task]
env_id = "CartPole-v1"
[ppo]
total_timesteps = 64
n_envs = 4
n_steps = 8
n_epochs = 1
batch_size = 16
learning_rate = { init = 1e-3, final = 1e-5, shape = "cosine", warmup = 0.1 }
ent_coef = 0.01
gamma = 0.99
sequence_length = 1
[network]
hidden_sizes = [8, 8]
activation = "relu"
core_size = 8
embedding_size = 8
[evaluation]
eval_interval = 2
eval_episodes = 4
sharpness = [0.5, 1.0]
[run]
seed = 0
checkpoint_keep = 2
"""
PROOF = CONFIG.replace('env_id = "CartPole-v1"', 'dataset = "data"\nmode = "verify"\nmax_depth = 3\nmax_atoms = 3')
SEARCH = """
[search]
learning_rate = { low = 1e-4, high = 1e-2, log = true }
n_epochs = { low = 1, high = 4 }
activation = { choices = ["relu", "tanh"] }
"ent_coef.final" = { low = 0.0, high = 0.1 }
"""
KEYS = (
    *("env_id", "dataset", "mode", "reward", "max_depth", "max_atoms", "max_successors", "max_rules", "rules", "prior"),
    *("total_timesteps", "n_envs", "n_steps", "n_epochs", "batch_size", "learning_rate", "critic_learning_rate"),
    *("gamma", "clip_range", "ent_coef", "ent_coef.final", "max_grad_norm", "target_kl", "sequence_length", "loss"),
    *("optimizer", "network", "hidden_sizes", "activation", "residual_layers", "embedding_size", "core", "core_size"),
    *("eval_interval", "eval_episodes", "beam_width", "sharpness", "n_corruptions", "n_queries", "seed", "devices"),
    *("threads", "on_nan", "checkpoint_keep", "checkpoint_minutes", "columns", "negative_ratio", "fact_dropout"),
    *("reward_type", "shuffle_groups", "ppo.gamma", "task.env_id", "run", "ppo", "", ".", "a.b.c", "learning_rate.x"),
)
VALUES = (
    *(
        "0",
        "-1",
        "1",
        "2",
        "3",
        "7",
        "64",
        "1e-3",
        "0.5",
        "1e400",
        "3" + "0" * 400,
        "-inf",
        "inf",
        "nan",
        "2147483647",
        "2147483648",
    ),
    *(
        "9223372036854775808",
        "1" * 5000,
        "true",
        "none",
        '""',
        '"x"',
        "x",
        "[]",
        "[8]",
        "[[8], [16]]",
        "{}",
        "{ init = 1 }",
    ),
    *(
        "{ init = 1.0, final = 0.5, start = 0.9, end = 0.1 }",
        "1979-05-27",
        '"os:abort"',
        '"json:loads"',
        '"a:b:c"',
        '":"',
    ),
    *('"CartPole-v1"', '"Pendulum-v1"', '"Proof-countries_s1"', '"Proof-countries_s1@3"', '"Proof-nothing"', '"data"'),
    *('"mlp"', '"cnn"', '"gru"', '"proof_actions"', '"proof_successors"', '"answer"', '"verify"', '"skip"', '"htr"'),
    *("[" * 300 + "]" * 300, '"' + "y" * 3000 + '"', '"\\u001b[31m"', '"../.."', '"/dev/null"', "0x10", "1_000", "'a'"),
)
WORDS = (
    *(
        b"\0",
        b"\x1b[2J",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\r\n",
        b"\n\n",
        b"\t",
        b" ",
        b"(",
        b")",
        b"[",
        b"]",
        b"{",
        b"}",
    ),
    *(b'"', b"'", b",", b".", b":", b"=", b"#", b"%", b"-", b":-", b"->", b"<=", b"\\+", b"NaN", b"Infinity", b"null"),
    *(
        b"true",
        b"-0.0",
        b"1e999",
        b"X",
        b"_",
        b"?x",
        b"p(",
        b"not ",
        b"X = Y",
        b"X != Y",
        b"\xe2\x80\xae",
        b"\xed\xa0\x80",
    ),
    *(b"9" * 5000, b"[" * 2000, b"{" * 200, b"(" * 500, b"a" * 140_000, b"p(a,b).\n" * 50, b'{"a":' * 1500),
)
JSON_VALUES = (
    *(None, True, -1, 0, 3, 0.5, 1e308, float("nan"), float("inf"), "", "x", "completed", "\x1b[31m", "\ud800", 10**30),
    *([], [1], [[1]], {}, {"a": 1}, [None], ["x", 2], {"init": 1}, 2**53, -(10**400), "1", {"mrr": "x"}, [{}]),
)


@dataclass(frozen=True)
class Case:
    """What lies in the working directory, and the command that is called there."""

    files: dict[str, bytes]
    arguments: tuple[str, ...]


def make_case(kind: str, number: int) -> Case:
    """The case `number` of a kind."""
    return KINDS[kind][1](random.Random(f"{SEED} {kind} {number}"))


def _config(draw: random.Random) -> Case:
    text = draw.choice((CONFIG, PROOF))
    text = _set_lines(draw, text) if draw.random() < 0.6 else text
    data = text.encode() if draw.random() < 0.5 and text not in (CONFIG, PROOF) else _broken(draw, text.encode())
    return Case({"x.toml": data, **_data()}, ("train", "x.toml", "--run-dir", "run", "--quiet"))


def _assignments(draw: random.Random) -> Case:
    given = [f"{draw.choice(KEYS)}={draw.choice(VALUES)}" for _ in range(draw.randint(1, 3))]
    if draw.random() < 0.2:
        given.append(draw.choice(("", "=", "gamma", "=1", "gamma=", "gamma==1", "\x1b=\x1b", "gamma=0.9\ngamma=0.8")))
    text = draw.choice((CONFIG, PROOF)).encode()
    return Case({"x.toml": text, **_data()}, ("train", "x.toml", "--run-dir", "run", "--quiet", "--set", *given))


def _grids(draw: random.Random) -> Case:
    values = ",".join(draw.choice(VALUES) for _ in range(draw.randint(1, 3)))
    grid = f"{draw.choice(KEYS)}={values}" if draw.random() < 0.9 else values
    more = ("--grid", f"{draw.choice(KEYS)}={draw.choice(VALUES)}") if draw.random() < 0.3 else ()
    seeds = draw.choice(("1", "2", "0", "-1"))
    options = ("--seeds", seeds, "--run-dir", "sweep", "--quiet", "--grid", grid, *more)
    return Case({"x.toml": CONFIG.encode()}, ("sweep", "x.toml", *options))


def _search(draw: random.Random) -> Case:
    text = CONFIG + SEARCH
    if draw.random() < 0.6:
        key = draw.choice(("low", "high", "log", "choices"))
        text += (
            f'"{draw.choice(KEYS)}" = {{ {key} = {draw.choice(VALUES)}, {draw.choice(("low", "high", "x"))}1 = 3 }}\n'
        )
        text = text.replace(draw.choice(("1e-4", "1e-2", "true", '["relu", "tanh"]', "4 }")), draw.choice(VALUES), 1)
    data = _broken(draw, text.encode()) if draw.random() < 0.5 else text.encode()
    return Case({"x.toml": data}, ("tune", "x.toml", "--trials", "1", "--seeds", "1", "--quiet"))


def _facts(draw: random.Random) -> Case:
    return _data_case(draw, draw.choice(("train.txt", "domain2constants.txt")))


def _rules(draw: random.Random) -> Case:
    return _data_case(draw, "rules.txt")


def _queries(draw: random.Random) -> Case:
    return _data_case(draw, draw.choice(("valid.txt", "test.txt")))


def _data_case(draw: random.Random, name: str) -> Case:
    files = _data()
    styles: tuple[Callable[[str], str], ...] = (
        str,
        lambda text: text.replace("(", "\t").replace(",", "\t").replace(").", ""),
    )
    text = draw.choice(styles)(files[f"data/{name}"].decode()) if name != "rules.txt" else draw.choice(RULES)
    files[f"data/{name}"] = _broken(draw, text.encode())
    if draw.random() < 0.1:
        del files[f"data/{draw.choice(tuple(PLACES))}"]
    return Case(files, ("data", "check", "data", *draw.choice(((), ("--json",), ("--columns", "htr")))))


RULES = (
    *(PLACES["rules.txt"], "in(X,Z) :- near(X,Y), in(Y,Z).\n", "0.5 in(X,Z) <= near(X,Y), in(Y,Z)\n"),
    *("10\t5\t0.5\tin(X,Y) <= near(X,A), in(A,Y)\n", "?a near ?b ?b in ?c => ?a in ?c\t0.1\t0.2\t0.3\n"),
)


def _log(draw: random.Random) -> Case:
    files = _run(draw)
    name = draw.choice(tuple(files))
    broken = _broken_json if draw.random() < 0.6 and not name.endswith("toml") else _broken
    files[name] = broken(draw, files[name])
    if draw.random() < 0.2:
        del files[draw.choice(tuple(files))]
    command = draw.choice(("diagnose", "diagnose", "compare", "report", "scores", "resume"))
    options = () if command == "scores" or draw.random() < 0.7 else ("--json",)
    return Case(files, (command, "run", *(("--out", "out") if command == "report" else ()), *options))


def _other_log(draw: random.Random) -> Case:
    columns = (
        "time/iterations",
        "time/total_timesteps",
        "train/approx_kl",
        "train/value_loss",
        "train/loss",
        "rollout/ep_rew_mean",
    )
    rows = [",".join(columns)] + [",".join(str(draw.uniform(0, 9)) for _ in columns) for _ in range(12)]
    data = _broken(draw, "\n".join(rows).encode())
    if draw.random() < 0.8:
        return Case({"progress.csv": data}, ("diagnose", "--sb3", "progress.csv"))
    return Case({"tb/events.out.tfevents.1.x": data}, ("diagnose", "--tensorboard", "tb"))


def _sweep(draw: random.Random) -> Case:
    plan = {"config": {"task": {"env_id": "CartPole-v1"}}, "seeds": [0, 1], "grid": {"gamma": [0.9, 0.99]}}
    members = [{"name": f"gamma={g}-s{s}", "seed": s, "setting": {"gamma": g}} for g in (0.9, 0.99) for s in (0, 1)]
    found = {
        "status": "completed",
        **plan,
        "seconds": 1.0,
        "programs": [{"members": 4, "devices": 1}],
        "members": members,
    }
    data = json.dumps(found).encode()
    data = _broken_json(draw, data) if draw.random() < 0.7 else _broken(draw, data)
    files = {"sweep/sweep.json": data} | {f"sweep/members/gamma=0.9-s0/{k[4:]}": v for k, v in _run(draw).items()}
    commands = (
        ("resume", "sweep"),
        ("sweep", "extract", "sweep", "gamma=0.9-s0", "--out", "taken"),
        ("compare", "sweep"),
    )
    return Case(files, draw.choice(commands))


def _limits(draw: random.Random) -> Case:
    text = draw.choice(("mrr", "value_loss", "x", "")) + "=" + draw.choice(VALUES)
    return Case(_run(draw), ("report", "run", "--out", "out", "--limit", text))


def _arguments(draw: random.Random) -> Case:
    words = (
        "train",
        "eval",
        "resume",
        "data",
        "check",
        "envs",
        "config",
        "run",
        "x.toml",
        "--set",
        "--json",
        "--seed",
        "-1",
    )
    strange = (
        "",
        "\x1b[31m",
        "\udcff",
        "größe",
        "--",
        "-",
        "--=",
        "a" * 5000,
        "nan",
        "--run-dir",
        "/dev/null",
        ".",
        "..",
    )
    return Case({"x.toml": CONFIG.encode()}, tuple(draw.choice(words + strange) for _ in range(draw.randint(0, 4))))


# Kind -> how many cases of it, and what makes one.
KINDS: dict[str, tuple[int, Callable[[random.Random], Case]]] = {
    **{"config": (80, _config), "set": (80, _assignments), "grid": (30, _grids), "search": (40, _search)},
    **{"facts": (50, _facts), "rules": (50, _rules), "queries": (30, _queries)},
    **{"log": (60, _log), "other_log": (20, _other_log), "sweep": (30, _sweep), "limits": (10, _limits)},
    **{"arguments": (20, _arguments)},
}


def _data() -> dict[str, bytes]:
    return {f"data/{name}": text.encode() for name, text in PLACES.items()}


def _run(draw: random.Random) -> dict[str, bytes]:
    """The text files of a completed run."""
    rows = [
        {"update": u, "env_steps": 32 * u, "approx_kl": 0.01, "value_loss": draw.random(), "explained_variance": 0.9}
        for u in range(1, 13)
    ]
    result = {"return_mean": 9.0, "return_std": 1.0, "length_mean": 9.0, "episodes": 4}
    summary = {"status": "completed", "env_id": "CartPole-v1", "seed": 0, "env_steps": 384, "updates": 12}
    summary |= {"final": rows[-1], "valid": result, "test": result, "test_last": result, "best_update": 12}
    summary |= {"baselines": {"random": result}, "steps_per_second": 9.0, "train_seconds": 1.0, "compile_seconds": 1.0}
    step = {"action": "r1: in(X,Z) :- near(X,Y), in(Y,Z)", "probability": 0.8, "facts": [], "resolvent": ["in(b,n)"]}
    step |= {"goal": 0, "subgoals": ["near(a,b)", "in(b,n)"], "known": [1]}
    last = {"action": "fact in(b,n)", "probability": 0.9, "facts": ["in(b,n)"], "resolvent": []}
    attempt = {"query": "in(a,n)", "label": True, "proved": True, "log_prob": -0.3}
    attempt["steps"] = [step, last | {"goal": 2, "subgoals": [], "known": []}]
    query = {"query": "in(a,n)", "argument": "tail", "rank": 1.0, "reciprocal_rank": 1.0, "candidates": [attempt]}
    return {
        "run/config.toml": CONFIG.encode(),
        "run/metrics.jsonl": _lines(rows),
        "run/eval.jsonl": _lines([{"update": u, "env_steps": 32 * u, **result} for u in (6, 12)]),
        "run/queries.jsonl": _lines([query] * 3),
        "run/summary.json": json.dumps(summary).encode(),
    }


def _lines(rows: list[dict]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _set_lines(draw: random.Random, text: str) -> str:
    """A configuration with some values, or keys, replaced or added."""
    lines = text.splitlines()
    for _ in range(draw.randint(1, 3)):
        i = draw.randrange(1, len(lines))
        key = lines[i].partition(" = ")[0] if " = " in lines[i] and draw.random() < 0.7 else draw.choice(KEYS)
        lines[i : i + draw.randint(0, 1)] = [f"{key} = {draw.choice(VALUES)}"]
    return "\n".join(lines)


def _broken(draw: random.Random, data: bytes) -> bytes:
    """Bytes with one to four places broken."""
    if draw.random() < 0.1:
        return draw.choice((b"", b"\n", b"\0" * 100, data.decode().encode("utf-16"), data * 50, data[: len(data) // 2]))
    for _ in range(draw.randint(1, 4)):
        i, n = draw.randrange(len(data) + 1), draw.randint(1, 12)
        match draw.randrange(6):
            case 0:
                data = data[:i] + draw.choice(WORDS) + data[i:]
            case 1:
                data = data[:i] + data[i + n :]
            case 2:
                data = data[:i] + bytes(draw.randrange(256) for _ in range(n)) + data[i + n :]
            case 3:
                data = data[:i] + draw.choice(WORDS) + data[i + n :]
            case 4:
                lines = data.splitlines(keepends=True)
                draw.shuffle(lines)
                data = b"".join(lines)
            case _:
                data = data[:i] + data[draw.randrange(len(data) + 1) :][:200] + data[i:]
    return data


def _broken_json(draw: random.Random, data: bytes) -> bytes:
    """JSON, or lines of it, with some value replaced, dropped or added."""
    lines = data.decode().splitlines()
    i = draw.randrange(len(lines))
    value = json.loads(lines[i])
    for _ in range(draw.randint(1, 3)):
        where = value
        while True:
            if not where:
                break
            key = draw.choice(list(where) if isinstance(where, dict) else range(len(where)))
            if isinstance(where[key], dict | list) and draw.random() < 0.7:
                where = where[key]
                continue
            if draw.random() < 0.25:
                del where[key]
            else:
                where[key] = draw.choice(JSON_VALUES)
            break
    if draw.random() < 0.1:
        value = draw.choice(JSON_VALUES)
    lines[i] = json.dumps(value)
    return "\n".join(lines).encode()


def write(case: Case, folder: Path) -> None:
    """Put the files of a case into a folder."""
    for name, data in case.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
