from __future__ import annotations

import re
from pathlib import Path

from verinfer.service.settings import Settings

README = Path(__file__).parents[3] / "service" / "README.md"


def test_every_setting_is_in_the_readme() -> None:
    """The table of settings names each of them, and no other."""
    section = README.read_text().partition("## Settings")[2].partition("## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = {name.lower() for cell in cells for name in re.findall(r"`([A-Z_]+)`", cell)}
    assert named == set(Settings.model_fields) - {"packages"}
