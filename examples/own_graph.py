"""Triples in, answers out: an agent learns to answer questions over a graph of your own, and proves its answers.

Without a folder it writes one, a family in which some aunts and uncles are held out. Rules are mined from the triples
where the folder has none. Prints the ranking of held-out triples beside a policy that draws its steps evenly, then the
answers to a question, the best one with its proof. Takes half a minute on two CPU cores.

    python examples/own_graph.py my_folder "aunt(X, zoe)"
"""

import argparse
import tempfile
from pathlib import Path

import ppo_jax

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", nargs="?", type=Path, help="with train.txt, valid.txt and test.txt")
parser.add_argument("question", nargs="?", default="aunt_or_uncle(X, lea)")
parser.add_argument("--steps", type=int, default=60_000, help="proof steps of training")
args = parser.parse_args()

CHILDREN = {
    "ada": "ben cleo dan",
    "ben": "eva finn",
    "cleo": "gus hana",
    "dan": "ivo jon",
    **{"eva": "kim lea", "finn": "max nia", "gus": "oda pia", "hana": "quin rosa", "ivo": "sam tom", "jon": "uma vera"},
}


def write_family(folder: Path) -> Path:
    """Triples, head, relation and tail: who is whose parent, sibling, aunt or uncle."""
    parent = {child: person for person, children in CHILDREN.items() for child in children.split()}
    siblings = [(a, b) for a in parent for b in parent if a != b and parent[a] == parent[b]]
    aunts = [(a, child) for a, b in siblings for child in CHILDREN.get(b, "").split()]
    known = [(a, "parent", b) for b, a in parent.items()] + [(a, "sibling", b) for a, b in siblings]
    known += [(a, "aunt_or_uncle", b) for i, (a, b) in enumerate(aunts) if i % 3 > 0]
    held_out = [(a, "aunt_or_uncle", b) for i, (a, b) in enumerate(aunts) if i % 3 == 0]
    for name, triples in {"train": known, "valid": held_out[::2], "test": held_out[1::2]}.items():
        (folder / f"{name}.txt").write_text("".join("\t".join(triple) + "\n" for triple in triples))
    return folder


scratch = Path(tempfile.mkdtemp())
folder = args.folder or write_family(scratch)
if not (folder / "rules.txt").exists():
    ppo_jax.mine_rules(folder, folder / "rules.txt", max_length=2, constants=False)
training = {"total_timesteps": args.steps, "n_envs": 32, "n_steps": 64, "batch_size": 512, "eval_interval": 0}
search = {"beam_width": 8, "sharpness": [1.0]}
config = ppo_jax.load_config("family", {"dataset": str(folder)} | training | search)
summary = ppo_jax.train(config, scratch / "run", progress=False)

ranked = {"trained": summary["test"], "uniform": summary["baselines"]["uniform_policy"]}
print("MRR of held-out triples:", *(f"{who} {result['answers']['mrr']:.2f}" for who, result in ranked.items()))

answers = ppo_jax.load_prover(scratch / "run").ask(args.question, top=4, proofs_alone=True)["answers"]
for answer in answers:
    print(f"{answer['answer']:<8} {answer['probability']:.3f} {'known' if answer['known'] else ''}")
print("proof:", *(step["action"] for step in answers[0]["steps"]), sep="\n  ")
