"""Tests any delegate: cases as data, contracts, random graphs, a runner that survives crashes, and reports."""
