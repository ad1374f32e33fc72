"""Runs a program on a Locust in which some names are changed: a new release may rename undocumented names.

    python -m tests.support.renamed_locust NAME[,NAME...] -m MODULE ARGUMENT...
    python -m tests.support.renamed_locust NAME[,NAME...] SCRIPT ARGUMENT...

Locust's own modules use the new names, so Locust itself works.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import re
import runpy
import sys
from collections.abc import Sequence
from types import CodeType, ModuleType

# A name is replaced as a whole word, except for these, which are also names of modules and options.
PATTERNS = {
    "master_host": r"(?<=self\.)master_host\b",
    "clients": r"(?<=self\.)clients\b|(?<=runner\.)clients\b",
    "main": r"(?<=def )main\b|(?<=import )main\b|(?<!\.)\bmain(?=\(\))",
}


class Renaming(importlib.machinery.SourceFileLoader):
    """Loads a module with the names replaced in its source."""

    names_taken_away: Sequence[str] = ()

    def get_code(self, fullname: str) -> CodeType | None:
        source = self.get_source(fullname) or ""
        for name in self.names_taken_away:
            source = re.sub(PATTERNS.get(name, rf"\b{re.escape(name)}\b"), f"{name}_renamed", source)
        code: CodeType = compile(source, self.path, "exec")
        return code


class Finder(importlib.abc.MetaPathFinder):
    """Finds Locust's modules for `Renaming`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.split(".", maxsplit=1)[0] != "locust":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = Renaming(spec.loader.name, spec.loader.path)
        return spec


def main() -> None:
    names, program, *arguments = sys.argv[1:]
    Renaming.names_taken_away = names.split(",")
    sys.meta_path.insert(0, Finder())
    sys.path.insert(0, os.getcwd())
    if program == "-m":
        sys.argv = arguments
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [program, *arguments]
        runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
