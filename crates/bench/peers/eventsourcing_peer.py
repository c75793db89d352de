"""How fast the Python library eventsourcing appends: the same load, arguments and line as of identity-bench-peers.

It is put together as its own documentation does it: an application with aggregates, and the Postgres module chosen by
its environment. Writers are threads, since that is what its recorders are made for.
"""

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from threading import Barrier
from uuid import uuid4

import psycopg
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from psycopg.conninfo import conninfo_to_dict

# Postgres takes a hundred connections, some of which are in other hands.
MOST_CONNECTIONS = 90


class Identity(Aggregate):
    """An identity, of which nothing but its creation is told."""

    @event("Created")
    def __init__(
        self,
        agent_handle: str,
        display_name: str,
        description: str,
        imessage_enabled: bool,
        mailbox: dict[str, str],
        tunnel: dict[str, str],
    ) -> None:
        pass


class Identities(Application):
    """The store: its table is called identities_events."""

    def append(self) -> None:
        """Begins a stream with one event of the size of identity.created.v1.json, and returns when it is committed."""
        handle = f"desk-{uuid4().hex[:12]}"
        self.save(
            Identity(
                agent_handle=handle,
                display_name="Harbor Desk",
                description="Answers what the harbor is asked.",
                imessage_enabled=False,
                mailbox={"id": str(uuid4()), "email_address": f"{handle}@agents.localhost"},
                tunnel={"id": str(uuid4()), "tls_mode": "passthrough", "zone": "tunnels.localhost"},
            )
        )


def environment(database_url: str, connections: int) -> dict[str, str]:
    """The settings that the library has in place of a URL."""
    where = conninfo_to_dict(database_url)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": str(where["dbname"]),
        "POSTGRES_HOST": str(where["host"]),
        "POSTGRES_PORT": str(where.get("port", 5432)),
        "POSTGRES_USER": str(where["user"]),
        "POSTGRES_PASSWORD": str(where.get("password", "")),
        "POSTGRES_POOL_SIZE": str(connections),
        "POSTGRES_MAX_OVERFLOW": "0",
    }


def write(identities: Identities, start: Barrier, seconds: float) -> list[float]:
    """The first append of each writer is nobody's figure: connections and statements get ready."""
    try:
        identities.append()
    finally:
        # Whoever fails arrives too, lest the others wait for ever.
        start.wait()
    latencies = []
    until = time.monotonic() + seconds
    while (asked := time.monotonic()) < until:
        identities.append()
        latencies.append(time.monotonic() - asked)
    return latencies


def drive(identities: Identities, writers: int, seconds: float) -> tuple[list[float], float]:
    """How long each append took, ascending, and all of them together."""
    start = Barrier(writers + 1)
    with ThreadPoolExecutor(writers) as threads:
        written = [threads.submit(write, identities, start, seconds) for _ in range(writers)]
        start.wait()
        started = time.monotonic()
        latencies = sorted(latency for writer in written for latency in writer.result())
        return latencies, time.monotonic() - started


def verify(database_url: str, expected: int) -> None:
    """Fails when the table does not hold exactly what was answered."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute("select count(*) from identities_events").fetchone()
    if row != (expected,):
        raise SystemExit(f"{row} events are there, and {expected} were appended")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=["eventsourcing"])
    parser.add_argument("database_url", help="an empty database")
    parser.add_argument("--writers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3)
    arguments = parser.parse_args()

    connections = min(arguments.writers, MOST_CONNECTIONS)
    with Identities(environment(arguments.database_url, connections)) as identities:
        latencies, elapsed = drive(identities, arguments.writers, arguments.seconds)
    verify(arguments.database_url, len(latencies) + arguments.writers)
    percentiles = {f"p{p}": int(latencies[len(latencies) * p // 100] * 1e6) for p in (50, 99)}
    report = {
        "peer": f"eventsourcing {version('eventsourcing')}",
        "appended": len(latencies),
        "seconds": elapsed,
        "latencies_us": percentiles,
    }
    print(json.dumps(report, separators=(",", ":")))


if __name__ == "__main__":
    main()
