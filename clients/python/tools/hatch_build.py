"""Generates the contract's code before the package is built."""

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Generated(BuildHookInterface):
    """The build hook."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Is called before files are gathered; a source distribution carries the contract itself."""
        if self.target_name == "wheel":
            runpy.run_path(str(Path(self.root) / "tools" / "generate.py"))["generate"]()
