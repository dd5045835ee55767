"""Closed formulas of single layers, by kind; see `timeline.theory.layers.registry`."""

from timeline.theory.layers import activations, attention, pooling, recurrent, weighted
from timeline.theory.layers.registry import (
    Formula,
    Shape,
    formula,
    formula_of,
    has_rule,
    rule,
    without_rule,
)

__all__ = [
    "Formula",
    "Shape",
    "activations",
    "attention",
    "formula",
    "formula_of",
    "has_rule",
    "pooling",
    "recurrent",
    "rule",
    "weighted",
    "without_rule",
]
