"""Does a running vault keep the promises of specs/semantics.md? Black box: public API, one token, names below a random prefix of its own.

Three parts: the rules one by one (``conformance_rules``); a random sequence, each answer judged by the oracle (``model.vault``);
concurrent clients whose histories are judged for one order per secret (``history_checker``). Everything created is deleted in the end,
also after a failure. The exit code is 0 if all was as promised, 1 if not, 2 if the vault could not be asked.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import requests
from concurrent_clients import Campaign, Chooser, Nemesis, perform, unknown
from conformance_rules import SCENARIOS, Broken, Witness
from histories import NOTHING, UNKNOWN
from history_checker import Undecided
from history_facts import Violation
from http_vault import Api, HttpVault

from model.operation import Create, Failed, List, Operation
from model.secret import Write
from model.vault import Contradiction, Vault

CLIENTS = 12
GROUP_SHARE, LIST_SHARE = 0.08, 0.05
MOST_UNKNOWN = 12
"""After so many unknown outcomes the sequence ends: the oracle keeps every alternative."""
UNREACHABLE = 2
QUIET_SECONDS = 1.0
CLEANING_SECONDS = 120.0
JUDGED = (*range(1, 6), *range(10, 16), 18, 19, 20, 21, 22, 25, 28, 29, 30)
"""Rules that the oracle holds every answer of the random sequence to."""
CONCURRENT = (2, 5, 10, 11, 12, 13, 16, 20, 21, 22, 25, 27, 29, 30)
NOT_FROM_OUTSIDE = {
    "SEM-6 to SEM-9": "only where the vault has troubles while this runs",
    "SEM-24": "takes callers of two namespaces",
    "SEM-26": "repair is unseen: nothing above has seen it",
}


class Calm(Nemesis):
    """Nothing goes wrong on purpose: that is left to whoever runs the vault."""

    def strike(self, over: threading.Event) -> None:
        over.wait(0.5)

    def heal(self) -> None:
        """There is nothing to end."""


@dataclass
class Report:
    """What was done. ``kept`` and ``broken`` are rules by number, ``failures`` say what was wrong; counts of operations."""

    kept: set[int] = field(default_factory=set)
    broken: set[int] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    troubles: dict[str, int] = field(default_factory=dict)
    rules: int = 0
    sequence: int = 0
    crowd: int = 0

    def judge(self, rules: Sequence[int], part: str, error: Exception | None, what: str) -> None:
        """One part is over. ``what`` is told at once, ``error`` in the end."""
        if error is None:
            self.kept.update(rules)
        else:
            self.broken.update(rules)
            self.failures.append(f"{part} ({_rules(rules)}): {error}")
        print(f"{'FAILED' if error else 'ok    '} {what}", flush=True)

    def trouble(self, kind: str, count: int = 1) -> None:
        self.troubles[kind] = self.troubles.get(kind, 0) + count

    def text(self) -> str:
        """The report."""
        troubles = ", ".join(f"{count} {kind}" for kind, count in sorted(self.troubles.items())) or "none"
        lines = [f"rules exercised and kept: {_rules(self.kept - self.broken)}"]
        lines += [f"not exercised: {rules}: {why}" for rules, why in NOT_FROM_OUTSIDE.items()]
        lines += [f"operations: {self.rules} by rules, {self.sequence} in sequence, {self.crowd} at once", f"troubles met: {troubles}"]
        lines += [f"FAILED {failure}" for failure in self.failures]
        return "\n".join([*lines, f"verdict: {'NOT as promised' if self.failures else 'as promised'}"])


def _rules(numbers: Iterable[int]) -> str:
    return ", ".join(f"SEM-{number}" for number in sorted(numbers)) or "none"


def check_rules(report: Report, witness: Witness) -> None:
    """Every scenario, one after the other."""
    for rules, scenario in SCENARIOS:
        what = scenario.__name__.replace("_", " ")
        error: Exception | None = None
        try:
            scenario(witness)
        except (Broken, KeyError, ValueError) as raised:
            error = raised
        report.judge(rules, what, error, what)
    report.rules = witness.asked
    for kind, count in witness.trouble.items():
        report.trouble(kind, count)


def check_sequence(report: Report, vault: HttpVault, namespace: str, operations: int, seed: int) -> None:
    """A random sequence, one operation at a time, groups and listings too, each answer judged at once."""
    chooser, oracle, unknowns = Chooser(namespace, 0, seed, cold=("cold",)), Vault(), 0
    error: Exception | None = None
    try:
        while report.sequence < operations and unknowns < MOST_UNKNOWN:
            chance = chooser.random.random()
            operation: Operation = chooser.choose()
            if chance < GROUP_SHARE:
                operation = Create(tuple(map(chooser.fresh, chooser.hot)), 0)
            elif chance < GROUP_SHARE + LIST_SHARE:
                operation = List(namespace, chooser.random.choice(("", "hot/", "cold")))
            result = perform(vault, operation)
            chooser.learn(operation, result)
            report.sequence += 1
            if unknown(result) or (isinstance(result, Failed) and result.code in NOTHING):
                report.trouble(result.code if isinstance(result, Failed) else "no answer")
                unknowns += isinstance(operation, Write) and unknown(result)
            oracle = oracle.expect(operation, result)
    except (Contradiction, AssertionError) as raised:
        error = raised
    report.judge(JUDGED, f"random sequence, seed {seed}", error, f"{report.sequence} random operations one by one, judged by the oracle")


def check_crowd(report: Report, vault: HttpVault, namespace: str, seconds: float, seed: int) -> None:
    """Concurrent clients, judged secret by secret."""
    campaign = Campaign([vault], Calm(seed), clients=CLIENTS, seed=seed, namespace=namespace)
    error: Exception | None = None
    try:
        campaign.run(seconds)
    except (Violation, Undecided, AssertionError) as raised:
        error = raised
    told = campaign.recorder.told
    report.crowd = told.total()
    for (_, answer), count in told.items():
        if answer == "lost" or answer in NOTHING | UNKNOWN:
            report.trouble(answer, count)
    what = f"{report.crowd} operations of {CLIENTS} clients at once, judged for one order per secret"
    report.judge(CONCURRENT, f"concurrent clients, seed {seed}", error, what)


def clean(api: Api, namespace: str, prefix: str) -> int:
    """Delete everything below ``prefix`` and look again, for writes that come late; how many were deleted. Raises TimeoutError."""
    deadline, deleted, quiet = time.monotonic() + CLEANING_SECONDS, 0, 0
    while quiet < 2:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not everything below {prefix} could be deleted: please do it by hand")
        try:
            page = api.ask("GET", "/secrets", params={"prefix": prefix, "limit": "1000"}, namespace=namespace)
            names = [str(name) for name in page.body.get("names", [])]
            with ThreadPoolExecutor(CLIENTS) as pool:
                gone = list(pool.map(lambda name: api.ask("DELETE", f"/secrets/{quote(name)}", namespace=namespace).status == 204, names))
        except requests.RequestException:
            page, names, gone = None, [], []
        deleted += sum(gone)
        quiet = quiet + 1 if page is not None and page.status == 200 and not names else 0
        time.sleep(QUIET_SECONDS)
    return deleted


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="conformance", description="Hold a running vault to specs/semantics.md.")
    parser.add_argument("--url", required=True, help="the gateway, https://HOST:PORT")
    parser.add_argument("--token-file", required=True, type=Path, help="a file that holds a bearer token with all capabilities")
    parser.add_argument("--ca-file", required=True, type=Path, help="the authority that signed the gateway's certificate (PEM)")
    parser.add_argument("--namespace", default="default", help="a namespace of the token")
    parser.add_argument("--operations", type=int, default=400, help="length of the random sequence")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the concurrent clients work")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32), help="what is random follows from it")
    options = parser.parse_args(arguments)
    prefix = f"conformance-{secrets.token_hex(6)}/"
    try:
        api = Api(options.url.rstrip("/"), options.token_file.read_text("ascii").strip(), options.ca_file)
        answer = api.ask("GET", "/secrets", params={"prefix": prefix}, namespace=options.namespace)
    except (OSError, ValueError) as error:
        print(f"cannot ask {options.url}: {type(error).__name__}", file=sys.stderr)
        return UNREACHABLE
    if answer.status != 200:
        print(f"cannot list names: {answer.status} {answer.code}", file=sys.stderr)
        return UNREACHABLE
    print(f"everything is below {prefix} in namespace {options.namespace}; seed {options.seed}")
    report = Report()
    try:
        check_rules(report, Witness(api, options.namespace, prefix))
        check_sequence(report, HttpVault(api, f"{prefix}sequence/"), options.namespace, options.operations, options.seed)
        check_crowd(report, HttpVault(api, f"{prefix}crowd/"), options.namespace, options.seconds, options.seed)
    finally:
        try:
            print(f"ok     cleaned up: {clean(api, options.namespace, prefix)} secrets deleted")
        except TimeoutError as error:
            report.failures.append(str(error))
    print(f"\n{report.text()}")
    return int(bool(report.failures))


if __name__ == "__main__":
    sys.exit(main())
