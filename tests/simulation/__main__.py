"""`./infra/dev sim --seeds 0:60`, `./infra/dev sim --only real --seed 17 --trace`, `./infra/dev mutants`."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import psycopg

from infra.local.database import MIGRATIONS
from infra.local.postgres import THROWAWAY, Postgres
from shared.adapters.postgres.migrations import migrate
from tests.simulation import mutants, session
from tests.simulation.hunting import Found, Mutants, hunt, mutant_table
from tests.simulation.real import mutants as real_mutants
from tests.simulation.real import session as real_session
from tests.simulation.session import Totals, table
from tests.simulation.simulation import Report

Simulate = Callable[[int, AbstractContextManager[None] | None], Report]

FAST, REAL = "fast", "real"
MUTANTS: Mapping[str, tuple[Mutants, Mapping[str, int]]] = {
    FAST: (mutants.MUTANTS, mutants.FOUND_AT),
    REAL: (real_mutants.MUTANTS, real_mutants.FOUND_AT),
}


@contextmanager
def _simulations(names: list[str]) -> Iterator[Mapping[str, Simulate]]:
    """Those of these names, each over a database of its own."""
    folder = Path(tempfile.mkdtemp(prefix="simulation-"))
    try:
        with Postgres(folder / "data", settings=THROWAWAY) as server, ExitStack() as stack:
            # For root, it may lie outside the temporary folder.
            stack.callback(shutil.rmtree, server.data, ignore_errors=True)
            yield {name: _simulation(server, name, stack) for name in names}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _simulation(server: Postgres, name: str, stack: ExitStack) -> Simulate:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    dsn = server.dsn_of(name)
    migrate(dsn, MIGRATIONS)
    if name == REAL:
        cluster = stack.enter_context(real_session.session(dsn))
        return lambda seed, mutant: real_session.simulate(cluster, seed, mutant)
    database = stack.enter_context(session.session(dsn))
    return lambda seed, mutant: session.simulate(database, seed, mutant)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./infra/dev sim", description=__doc__)
    parser.add_argument("--seeds", default="0:60", help="FROM:TO, TO not included")
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("--only", choices=[FAST, REAL], help="on one connection, or with real locks; else both")
    parser.add_argument("--trace", action="store_true", help="print every event")
    parser.add_argument("--mutants", action="store_true", help="seed deliberate bugs, and see how soon each is found")
    options = parser.parse_args()
    with _simulations([options.only] if options.only else [FAST, REAL]) as simulations:
        if options.mutants:
            return _hunt(simulations)
        first, last = map(int, options.seeds.split(":"))
        seeds = range(first, last) if options.seed is None else [options.seed]
        return _run(simulations, seeds, options.trace)


def _hunt(simulations: Mapping[str, Simulate]) -> int:
    found: dict[str, list[Found]] = {}
    for name, simulate in simulations.items():
        those, found_at = MUTANTS[name]
        found[name] = [hunt(simulate, mutant, found_at, 200) for mutant in those]
    print(mutant_table(found))
    return 0 if all(f.seed is not None for those in found.values() for f in those) else 1


def _run(simulations: Mapping[str, Simulate], seeds: range | list[int], trace: bool) -> int:
    totals = {name: Totals() for name in simulations}
    for name, simulate in simulations.items():
        began = time.monotonic()
        for seed in seeds:
            report = simulate(seed, None)
            totals[name].add(report)
            if trace:
                print("\n".join(report.trace))
            if report.broken:
                print(report, flush=True)
        print(f"{name}: {time.monotonic() - began:.1f} s", flush=True)
    print(table(totals))
    return 1 if any(t.broken for t in totals.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
