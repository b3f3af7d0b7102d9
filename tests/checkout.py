"""Where the checkout is, and the corpus beside it."""

from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
EXAMPLES = ROOT / "examples"
CORPUS = ROOT.parent / "shared" / "corpus"
"""Models and LiteRT's answers, which not every checkout has beside it."""
