"""What a trained policy did: its proofs, the episodes it played, the program it was exported to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.text import Text

from ppo_jax.cli.console import count, make_console, make_table, say

__all__ = ["show_export", "show_onnx", "show_played", "show_proof"]

Json = dict[str, Any]


def show_proof(proof: Json) -> None:
    """The steps of an attempt at a proof: choice, its probability, facts used, what is left."""
    console, probability = make_console(), 1.0
    console.print(proof["query"])
    if "asked_as" in proof:
        console.print(Text(f"asked as {proof['asked_as']}", "dim"))
    table = make_table(">", "", ">", header=False)
    for i, step in enumerate(proof["steps"], start=1):
        probability *= step["probability"]
        table.add_row(str(i), step["action"], f"p {step['probability']:.3f}")
        known = [fact for fact in step["facts"] if step["action"] != f"fact {fact}"]
        if known:
            table.add_row("", Text(f"known: {', '.join(known)}", "dim"), "")
        if step["resolvent"]:
            table.add_row("", Text(f"to prove: {', '.join(step['resolvent'])}", "dim"), "")
    if proof["steps"]:
        console.print(table)
    steps = count(len(proof["steps"]), "step")
    if proof["proved"]:
        console.print(f"proved in {steps}; this derivation has probability {probability:.3g}")
        if "probability" in proof:
            together = f"all its derivations in the beam together, as `ask` says of {proof['asked_as']}"
            console.print(f"{together}: {proof['probability']:.3g}")
    else:
        after = f" after {steps}" if proof["steps"] else ""
        console.print(f"not proved{after}: {proof['stopped_by']}")


def show_played(played: Json) -> None:
    """Attempts at proofs, one below the other; return and length of episodes."""
    for i, proof in enumerate(played.get("proofs", ())):
        if i:
            print()
        show_proof(proof)
    for i, episode in enumerate(played.get("episodes", ()), start=1):
        cut = "" if episode["finished"] else ", cut there by --max-steps"
        say(f"episode {i}: return {episode['return']:.6g} in {count(episode['length'], 'step')}{cut}", sys.stdout)


def show_export(found: Json) -> None:
    """Where the artifact is, what it takes and what it gives."""
    names, given = ", ".join(found["inputs"]), "(action, carry)" if "carry" in found["inputs"] else "action"
    say(
        f"wrote {found['out']}: ({names}) -> {given}, all of them batches, on {', '.join(found['platforms'])}",
        sys.stdout,
    )
    say(f"wrote {Path(found['out']).with_suffix('.json')}: shapes and meaning of each", sys.stdout)
    say(
        f"plain JAX runs it: jax.export.deserialize(bytearray(open({found['out']!r}, 'rb').read())).call({names})",
        sys.stdout,
    )


def show_onnx(found: Json) -> None:
    """Where the graph is, what it takes and on how much it was compared."""
    say(f"wrote {found['out']}: ({', '.join(found['inputs'])}) -> action, the most likely one", sys.stdout)
    say(f"onnxruntime takes the policy's actions in all of {count(found['compared'], 'observation')}", sys.stdout)
