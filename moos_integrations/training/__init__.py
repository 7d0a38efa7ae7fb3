"""Train a token classifier on texts and questions of your own, and have an LLM label texts for it.

`train` reads JSON lines and saves a model folder (`moos train`), `annotate` makes such lines (`moos annotate`). Only
the names below are public; each loads what it needs when it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moos_integrations.training.alignment import Alignment as Alignment
    from moos_integrations.training.alignment import align as align
    from moos_integrations.training.alignment import labels_from_pairs as labels_from_pairs
    from moos_integrations.training.annotation import AnnotationReport as AnnotationReport
    from moos_integrations.training.annotation import AnnotationSettings as AnnotationSettings
    from moos_integrations.training.annotation import aannotate as aannotate
    from moos_integrations.training.annotation import annotate as annotate
    from moos_integrations.training.annotation import estimate as estimate
    from moos_integrations.training.annotation import read_annotations as read_annotations
    from moos_integrations.training.examples import read_training as read_training
    from moos_integrations.training.labels import LabelledText as LabelledText
    from moos_integrations.training.loss import MOOSLoss as MOOSLoss
    from moos_integrations.training.trainer import Recipe as Recipe
    from moos_integrations.training.trainer import train as train

_HOMES = {
    "Alignment": "alignment",
    "AnnotationReport": "annotation",
    "AnnotationSettings": "annotation",
    "LabelledText": "labels",
    "MOOSLoss": "loss",
    "Recipe": "trainer",
    "aannotate": "annotation",
    "align": "alignment",
    "annotate": "annotation",
    "estimate": "annotation",
    "labels_from_pairs": "alignment",
    "read_annotations": "annotation",
    "read_training": "examples",
    "train": "trainer",
}

__all__ = [
    "Alignment",
    "AnnotationReport",
    "AnnotationSettings",
    "LabelledText",
    "MOOSLoss",
    "Recipe",
    "aannotate",
    "align",
    "annotate",
    "estimate",
    "labels_from_pairs",
    "read_annotations",
    "read_training",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
