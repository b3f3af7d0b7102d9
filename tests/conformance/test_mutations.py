"""The table of planted faults fits the sources, and the kit catches one of them. `mutations.run` tries all."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from mutations.faults import KINDS, every, read
from mutations.run import CAUGHT, copied, sampled, tried
from opencl_runtimes import require_intel

from tflgpu.conformance import catalog


def test_every_fault_can_be_planted() -> None:
    for fault in every():
        assert fault.planted(), fault.name
    names = Counter(fault.name for fault in every())
    assert not [name for name, count in names.items() if count > 1]


def test_there_are_at_least_200_faults_of_every_kind() -> None:
    kinds = Counter(fault.kind for fault in every())
    assert set(kinds) == set(KINDS) and sum(kinds.values()) >= 200


def test_a_sample_has_faults_of_every_kind_and_device_and_is_the_same_for_a_seed() -> None:
    sample = sampled(every(), 200, 19)
    assert len(set(sample)) == 200 and sample == sampled(every(), 200, 19) != sampled(every(), 200, 20)
    assert {(f.kind, f.device) for f in sample} == {(f.kind, f.device) for f in every()}


def test_the_cases_of_every_fault_are_there() -> None:
    names = catalog.names()
    for pattern in {fault.cases for fault in every()}:
        assert any(re.search(pattern, name) for name in names), pattern


def test_a_table_with_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="'speed' is no kind"):
        list(read("FILE a.cl\nCASES ^ABS\n\nspeed\n-a\n+b\n"))


def test_a_planted_fault_is_caught_by_the_case_of_its_class() -> None:
    require_intel()
    fault = next(f for f in every() if f.path.endswith("svdf.h") and f.kind == "edge")
    with copied() as folder:
        found = tried(fault, folder, 120.0)
    assert found.verdict == CAUGHT and found.case.startswith("SVDF[")
