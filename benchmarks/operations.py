"""The measurements of a healthy vault: which points, in which blocks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from benchmarks.bench import CLIENTS, Bench, Load, base_name
from benchmarks.points import Shape, Store, at_clients, at_size
from benchmarks.workload import Requests

BASE = 1_000
"""How many secrets a store has at the start; as many references as a .env file may have."""
CLIENT_COUNTS = (8, CLIENTS)
VERSIONS = 100
OLD = "bench/old"
YOUNG = 20
SIZES = {"64 B": 64, "1 KiB": 1_024, "64 KiB": 65_536, "1 MiB": 1_048_576}
SIZE_CLIENTS = 8
SIZE_SECRETS = 16


def every_operation(bench: Bench) -> None:
    """Every operation, and files and batches, by one client; then every operation by 8 and by 32 clients."""
    requests, names = bench.requests, [base_name(number) for number in range(BASE)]
    created: dict[int, list[str]] = {clients: [] for clients in (1, *CLIENT_COUNTS)}

    def creates(clients: int) -> Load:
        return [requests.creates(bench.new_names(), created[clients]) for _ in range(clients)]

    def updates(clients: int) -> Load:
        return [requests.updates(_over(created[clients], client, clients)) for client in range(clients)]

    def deletes(clients: int) -> Load:
        return [requests.deletes(_over(created[clients], client, clients, once=True)) for client in range(clients)]

    def histories(clients: int) -> Load:
        return [requests.histories(bench.any_base(BASE)) for _ in range(clients)]

    def batches(clients: int) -> Load:
        return [requests.batch(names[:100]) for _ in range(clients)]

    operations = {
        "get": lambda clients: bench.gets(clients, BASE),
        "history": histories,
        "batch read of 100": batches,
        "create": creates,
        "update": updates,
        "delete": deletes,
    }
    alone = {at_clients(operation, 1): of(1) for operation, of in operations.items()}
    files = {
        ".env of 100": [requests.env(names[:100])],
        ".env of 1,000": [requests.env(names)],
        "encrypt of 100": [requests.encrypt(bench.new_names(), 100)],
    }
    bench.against_floor(1, alone | files)
    for operation, of in operations.items():
        bench.against_floor(CLIENTS, {at_clients(operation, clients): of(clients) for clients in CLIENT_COUNTS})


def value_sizes(bench: Bench) -> None:
    """Gets and creates of values from 64 bytes to a megabyte."""
    points: dict[str, Load] = {}
    for label, size in SIZES.items():
        requests = Requests(bench.vault.target, bench.vault.token, size)
        first = list(itertools.islice(bench.new_names("size"), SIZE_SECRETS))
        bench.create_with(requests, first)
        points[f"get, {SIZE_CLIENTS} clients, {label}"] = [requests.gets(itertools.cycle(first)) for _ in range(SIZE_CLIENTS)]
        points[f"create, {SIZE_CLIENTS} clients, {label}"] = [requests.creates(bench.new_names("size")) for _ in range(SIZE_CLIENTS)]
    bench.against_floor(CLIENTS, points)


def grow_old(bench: Bench) -> None:
    """Give one secret a hundred versions."""
    bench.create([OLD])
    bench.update([OLD] * (VERSIONS - 1))


def many_versions(bench: Bench) -> None:
    """Gets and updates of young secrets, and of one with a hundred versions."""
    young = list(itertools.islice(bench.new_names("young"), YOUNG))
    bench.create(young)
    bench.against_floor(1, {
        "get, 1 version": [bench.requests.gets(itertools.cycle(young))],
        "get, 100 versions": [bench.requests.gets(itertools.repeat(OLD))],
        "update, 1 version": [bench.requests.updates(young)],
        "update, 100 versions": [bench.requests.updates([OLD] * YOUNG)],
    })  # fmt: skip


def at_store_size(bench: Bench, count: int) -> None:
    """Gets and updates all over a store of ``count`` secrets."""
    names = [base_name(number) for number in range(count)]
    updates = [bench.requests.updates(itertools.cycle(names[client::CLIENTS])) for client in range(CLIENTS)]
    bench.against_floor(CLIENTS, {at_size("get", count): bench.gets(CLIENTS, count), at_size("update", count): updates})


def weigh(bench: Bench, count: int) -> None:
    """Memory of the nodes and the gateway, and the nodes' disks, with ``count`` secrets."""
    vault = bench.vault
    bench.results.stores.append(
        Store(
            secrets=count,
            versions=bench.requests.version_count,
            node_megabytes=vault.node_megabytes(),
            gateway_megabytes=vault.gateway_megabytes(),
            node_disk_bytes=vault.node_disk_bytes(),
        )
    )


def at_shape(bench: Bench, shape: Shape, count: int) -> None:
    """Gets among ``count`` base secrets, and creates, in a vault of this ``shape``."""
    creates = [bench.requests.creates(bench.new_names()) for _ in range(CLIENTS)]
    bench.against_floor(CLIENTS, {shape.point("get"): bench.gets(CLIENTS, count), shape.point("create"): creates})


def _over(names: list[str], client: int, clients: int, *, once: bool = False) -> Iterator[str]:
    """This client's part of ``names``, which are not there before the first is asked for; again and again, or once."""
    own = names[client::clients]
    yield from own if once else itertools.cycle(own)
