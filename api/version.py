"""The version of Kilabu, as pyproject.toml states it."""

import tomllib
from pathlib import Path

# Read once in a process, at its start.
VERSION: str = tomllib.loads(Path(__file__).parent.with_name("pyproject.toml").read_text())["project"]["version"]
