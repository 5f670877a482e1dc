"""Build ``src/ppo_jax/data/countries/facts.txt`` from the npm package world-countries 1.8.1 (ODbL 1.0).

    python scripts/build_countries.py [path/to/world-countries-1.8.1.tgz]

Without a path the tarball is fetched by ``npm pack``. The input must be that very tarball: its version and SHA-256
are written into the first lines of the output.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import subprocess
import tarfile
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

PACKAGE, VERSION = "world-countries", "1.8.1"
SHA256 = "403d4289af63dd7fcf2ea5c1f577238cb0c3b34971530256a83ea99a4f8321c8"
OUTPUT = Path(__file__).parents[1] / "src/ppo_jax/data/countries/facts.txt"

RENAMED = {"czech_republic": "czechia"}
LEFT_OUT = {
    "antarctica",
    "bouvet_island",
    "french_southern_and_antarctic_lands",
    "heard_island_and_mcdonald_islands",
    "micronesia",
}
NO_BORDER = {"cyprus", "united_kingdom"}  # only through two military bases


def main() -> None:
    """Read the tarball, check it, write the facts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tarball", type=Path, nargs="?", help=f"{PACKAGE}-{VERSION}.tgz (default: fetched by npm)")
    parser.add_argument("--out", type=Path, default=OUTPUT, help="file to write (default: %(default)s)")
    arguments = parser.parse_args()

    tarball = arguments.tarball.read_bytes() if arguments.tarball else fetch()
    sha256 = hashlib.sha256(tarball).hexdigest()
    if sha256 != SHA256:
        raise SystemExit(f"the tarball's SHA-256 is {sha256}; {PACKAGE} {VERSION} has {SHA256}")
    facts = sorted(f"{predicate}({a},{b})." for predicate, a, b in build_facts(read_countries(tarball)))
    header = [
        f"% Derived from {PACKAGE} {VERSION} by Mohammed Le Doze and contributors, github.com/mledoze/countries",
        f"% (tarball SHA-256 {sha256}).",
        "% Open Database License 1.0, see LICENSE-ODbL.txt; contents under the Database Contents License 1.0.",
    ]
    arguments.out.write_text("\n".join([*header, *facts]) + "\n", encoding="ascii")
    print(f"{arguments.out}: {len(facts)} facts")


def fetch() -> bytes:
    """Download the tarball with npm."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            subprocess.run(["npm", "pack", "--silent", f"{PACKAGE}@{VERSION}"], cwd=folder, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SystemExit(
                f"npm could not fetch {PACKAGE}@{VERSION} ({error}); give the path of its tarball"
            ) from None
        return (Path(folder) / f"{PACKAGE}-{VERSION}.tgz").read_bytes()


def read_countries(tarball: bytes) -> list[dict[str, Any]]:
    """The records of the package's ``countries.json``."""
    with tarfile.open(fileobj=io.BytesIO(tarball)) as archive:
        member = archive.extractfile("package/dist/countries.json")
        assert member is not None
        countries: list[dict[str, Any]] = json.load(member)
        return countries


def build_facts(countries: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """All facts about the countries that are kept, as (predicate, argument, argument)."""
    names = {country["cca3"]: country_name(country) for country in countries}
    kept = [country for country in countries if country_name(country) not in LEFT_OUT]
    facts: set[tuple[str, str, str]] = set()
    for country in kept:
        name, subregion, region = country_name(country), ascii_name(country["subregion"]), ascii_name(country["region"])
        facts |= {("locatedInCS", name, subregion), ("locatedInSR", subregion, region), ("locatedInCR", name, region)}
        for neighbor in (names[code] for code in country["borders"]):
            if neighbor not in LEFT_OUT and {name, neighbor} != NO_BORDER:
                facts |= {("neighborOf", name, neighbor), ("neighborOf", neighbor, name)}
    return facts


def country_name(country: dict[str, Any]) -> str:
    """The name that stands for a country in the facts."""
    name = ascii_name(country["name"]["common"])
    return RENAMED.get(name, name)


def ascii_name(text: str) -> str:
    """Reduce a name to lower-case ASCII letters and digits with single underscores between them."""
    letters = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", letters).strip("_")


if __name__ == "__main__":
    main()
