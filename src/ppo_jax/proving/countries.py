"""The Countries benchmarks S1, S2 and S3, constructed from the packaged facts about 243 countries.

Which countries are held out, and what hides their region, decides the benchmark; the facts and their licence lie in
``ppo_jax/data/countries``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

import numpy as np

from ppo_jax.proving.knowledge_base import Triple, nearest, parse_statements
from ppo_jax.types import PPOJaxError

__all__ = ["BUILTIN", "build_countries"]


@dataclass(frozen=True)
class _Variant:
    """How a Countries benchmark hides the region of the held-out countries."""

    rules: tuple[str, ...]
    hides: tuple[str, ...]  # predicates whose facts about held-out countries are left out
    hides_neighbors: bool = False  # also the region of every neighbour of a held-out country
    published_palestine: bool = False  # keep the one fact that the published S3 kept against its own rule


_S3 = _Variant(("r1", "r2"), ("locatedInCR", "locatedInCS"), hides_neighbors=True, published_palestine=True)
_VARIANTS = {
    "countries_s1": _Variant(("r0",), ("locatedInCR",)),
    "countries_s2": _Variant(("r0", "r1"), ("locatedInCR", "locatedInCS")),
    "countries_s3": _S3,
    "countries_s3_clean": replace(_S3, published_palestine=False),
    "countries_s3_full": replace(_S3, rules=("r0", "r1", "r2")),
}

BUILTIN = tuple(_VARIANTS)
"""Names of the built-in data sets. ``countries_s3@7`` is one too: other held-out countries, drawn with seed 7."""


def build_countries(variant: str, split_seed: int | None = None) -> dict[str, str]:
    """Construct a Countries benchmark from the packaged facts about 243 countries.

    The queries ask for the region of the held-out countries H, 24 each for valid and test (Bouchard, Singh and
    Trouillon, 2015: On approximate reasoning capabilities of low-rank vector spaces). S1 leaves out ``locatedInCR``
    of H, S2 also ``locatedInCS`` of H, S3 also ``locatedInCR`` of every neighbour of H. ``countries_s3`` is the
    benchmark as published, which kept ``locatedInCR(palestine,asia)`` against that rule; ``countries_s3_clean`` lacks
    it; ``countries_s3_full`` is ``countries_s3`` with the rule through the subregion as well.

    Args:
        variant: one of `BUILTIN`.
        split_seed: draw other held-out countries, as many, each with a neighbour outside H; the exception for
            palestine belongs to the published split and is not made. None: the published split.

    Returns:
        The texts of the data set, with its licence; `write_folder` writes them, `from_files` parses them.

    Raises:
        PPOJaxError: `variant` is unknown, or `split_seed` is negative.
    """
    if variant not in _VARIANTS:
        raise PPOJaxError(
            f"no Countries variant {variant!r}; there are {', '.join(BUILTIN)}{nearest(variant, BUILTIN)}"
        )
    settings = _VARIANTS[variant]
    header, facts = _countries()
    neighbors: dict[str, set[str]] = {}
    for predicate, country, neighbor in facts:
        if predicate == "neighborOf":
            neighbors.setdefault(country, set()).add(neighbor)
    held_out = {split: _packaged(f"heldout_{split}.txt").split() for split in ("valid", "test")}
    if split_seed is not None:
        held_out = _resample(neighbors, {split: len(countries) for split, countries in held_out.items()}, split_seed)
    hidden = {country for countries in held_out.values() for country in countries}
    regionless: set[str] = set()
    if settings.hides_neighbors:
        regionless.update(*(neighbors[country] for country in hidden))
    if settings.published_palestine and split_seed is None:
        regionless.discard("palestine")
    train = [
        (predicate, subject, target)
        for predicate, subject, target in facts
        if not (predicate in settings.hides and subject in hidden)
        and not (predicate == "locatedInCR" and subject in regionless)
    ]
    region = {subject: target for predicate, subject, target in facts if predicate == "locatedInCR"}
    domains = {
        "regions": sorted(set(region.values())),
        "subregions": sorted({target for predicate, _, target in facts if predicate == "locatedInCS"}),
        "countries": sorted(region),
    }
    all_rules = _packaged("rules.txt").splitlines()
    files = {
        "train.txt": [*header, *(f"{predicate}({a},{b})." for predicate, a, b in train)],
        **{
            f"{split}.txt": [f"locatedInCR({country},{region[country]})." for country in countries]
            for split, countries in held_out.items()
        },
        "rules.txt": [line for line in all_rules if line.split(":")[0] in settings.rules],
        "domain2constants.txt": [f"{domain} {' '.join(constants)}" for domain, constants in domains.items()],
        "LICENSE-ODbL.txt": _packaged("LICENSE-ODbL.txt").splitlines(),
    }
    if settings.hides_neighbors:
        files["rules_full.txt"] = all_rules
    return {file: "\n".join(lines) + "\n" for file, lines in files.items()}


@cache
def _packaged(file: str) -> str:
    return (resources.files("ppo_jax") / "data" / "countries" / file).read_text(encoding="utf-8")


@cache
def _countries() -> tuple[tuple[str, ...], tuple[Triple, ...]]:
    """The comment lines that name source and licence, and all facts."""
    text = _packaged("facts.txt")
    header = tuple(line for line in text.splitlines() if line.startswith("%"))
    return header, tuple(parse_statements(text, "facts.txt").facts)


def _resample(neighbors: Mapping[str, set[str]], sizes: Mapping[str, int], seed: int) -> dict[str, list[str]]:
    """Draw held-out countries for each split, each with at least one neighbour outside all of them."""
    if seed < 0:
        raise PPOJaxError(f"split seed {seed} is negative; give 0 or more")
    random = np.random.default_rng(seed)
    chosen: list[str] = []
    for country in random.permutation(sorted(neighbors)).tolist():
        candidate = {*chosen, country}
        if len(chosen) < sum(sizes.values()) and all(neighbors[member] - candidate for member in candidate):
            chosen.append(country)
    # Those drawn late had to fit those drawn early, so both kinds are spread over the splits.
    drawn = iter(random.permutation(chosen).tolist())
    return {split: sorted(next(drawn) for _ in range(size)) for split, size in sizes.items()}
