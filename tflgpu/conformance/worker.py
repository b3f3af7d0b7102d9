"""The process that runs cases: settings and names come in as lines of JSON, results go out as such."""

from __future__ import annotations

import json
import os
import re
import sys
import warnings
from typing import Any, TextIO


def main() -> None:
    """Reads settings, says that it is ready or why not, then answers each name with a result."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not come between the answers
    warnings.simplefilter("ignore")
    settings_line = sys.stdin.readline()
    try:
        delegate, settings, run = _opened(json.loads(settings_line))
    except Exception as error:
        _say(answers, {"failed": f"{type(error).__name__}: {error}"})
        return
    _say(answers, {"ready": re.sub(" at 0x[0-9a-f]+", "", repr(delegate.inner))})
    for line in sys.stdin:
        name = json.loads(line)["case"]
        try:
            _say(answers, run(name, delegate, settings).as_dict())
        except Exception as error:
            _say(answers, {"raised": f"{type(error).__name__}: {error}"})


def _opened(values: dict[str, Any]) -> tuple[Any, Any, Any]:
    from tflgpu.conformance import catalog
    from tflgpu.conformance.guards import Watched
    from tflgpu.conformance.settings import from_dict, opened

    settings = from_dict(values)
    return Watched(opened(settings)), settings, catalog.run


def _say(answers: TextIO, what: dict[str, Any]) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
