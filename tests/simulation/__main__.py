"""`./infra/dev sim --seeds 0:1000`, `./infra/dev sim --seed 17 --trace`, `./infra/dev mutants`."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local.database import MIGRATIONS
from infra.local.postgres import THROWAWAY, Postgres
from shared.adapters.postgres.migrations import migrate
from tests.simulation.boundary import SimulatedDatabase
from tests.simulation.mutants import MUTANTS, hunt, mutant_table
from tests.simulation.session import Totals, session, simulate


@contextmanager
def _database() -> Iterator[SimulatedDatabase]:
    folder = Path(tempfile.mkdtemp(prefix="simulation-"))
    try:
        with Postgres(folder / "data", settings=THROWAWAY) as server:
            try:
                migrate(server.dsn, MIGRATIONS)
                with session(server.dsn) as database:
                    yield database
            finally:
                shutil.rmtree(server.data, ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./infra/dev sim", description=__doc__)
    parser.add_argument("--seeds", default="0:200", help="FROM:TO, TO not included")
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("--trace", action="store_true", help="print every event")
    parser.add_argument("--mutants", action="store_true", help="seed deliberate bugs, and see how soon each is found")
    options = parser.parse_args()
    with _database() as database:
        if options.mutants:
            found = [hunt(database, m, 200) for m in MUTANTS]
            print(mutant_table(found))
            return 0 if all(f.seed is not None for f in found) else 1
        first, last = map(int, options.seeds.split(":"))
        seeds = range(first, last) if options.seed is None else [options.seed]
        return _run(database, seeds, options.trace)


def _run(database: SimulatedDatabase, seeds: range | list[int], trace: bool) -> int:
    totals, began = Totals(), time.monotonic()
    for seed in seeds:
        report = simulate(database, seed)
        totals.add(report)
        if trace:
            print("\n".join(report.trace))
        if report.broken:
            print(report, flush=True)
    print(totals)
    print(f"{time.monotonic() - began:.1f} s")
    return 1 if totals.broken else 0


if __name__ == "__main__":
    sys.exit(main())
