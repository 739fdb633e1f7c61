"""Runs tests on a module that is not as it stands in the tree: other code is loaded in its place, in a process of its own."""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import resource
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType

import msgspec
import pytest
from Crypto.Cipher import ChaCha20_Poly1305
from hypothesis import Phase, settings

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests"
CPU_SECONDS = 15
"""What a run may take, several times what it should; one that needs more does not end."""
PRELOADED = (ChaCha20_Poly1305, msgspec)
"""What every run would otherwise import anew."""
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-p", "_hypothesis_pytestplugin", "--hypothesis-profile=changed", f"--rootdir={ROOT}")


class _InPlace(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads ``code`` as the module ``name``."""

    def __init__(self, name: str, code: CodeType) -> None:
        self._name = name
        self._code = code

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self) if fullname == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)


def source_of(module: str) -> Path:
    """The file of a module, "model.quorum" say."""
    return ROOT.joinpath(*module.split(".")).with_suffix(".py")


def passes(module: str, code: CodeType | None, *runs: Sequence[str], shown: bool = False) -> bool:
    """Whether all ``runs``, lists of test files or node ids, pass with ``code`` in the place of ``module`` (None: as it is).

    None of this project's modules may have been imported before. ``shown``: with what pytest prints.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # importing them takes longer than the tests, which need none
        sys.path.insert(0, str(ROOT))
        settings.register_profile("changed", database=None, derandomize=True, deadline=None, phases=[Phase.explicit, Phase.generate])
        if code is not None:
            sys.meta_path.insert(0, _InPlace(module, code))
        if shown:
            passed = all(_pass(run) for run in runs)
        else:
            with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
                passed = all(_pass(run) for run in runs)
        sys.stdout.flush()
        os._exit(0 if passed else 1)
    except BaseException:  # noqa: BLE001 - whatever a changed module raises while it is imported: it was noticed
        os._exit(1)


def _pass(tests: Sequence[str]) -> bool:
    return pytest.main([*OPTIONS, *(str(TESTS / test) for test in tests)]) == pytest.ExitCode.OK
