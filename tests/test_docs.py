"""Pages that a command makes are what it makes now."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_operators_page_is_fresh():
    subprocess.run([sys.executable, str(ROOT / "docs" / "make_operators.py"), "--check"], check=True)
