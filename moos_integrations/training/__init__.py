"""Train a token classifier on your texts and questions, and label texts for it with an LLM.

`train` reads JSON lines and saves a model folder (`moos train`), `annotate` makes such lines (`moos annotate`). Only
the names below are public; each is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moos_integrations.lazy import on_first_use

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
    "Alignment": "training.alignment",
    "AnnotationReport": "training.annotation",
    "AnnotationSettings": "training.annotation",
    "LabelledText": "training.labels",
    "MOOSLoss": "training.loss",
    "Recipe": "training.trainer",
    "aannotate": "training.annotation",
    "align": "training.alignment",
    "annotate": "training.annotation",
    "estimate": "training.annotation",
    "labels_from_pairs": "training.alignment",
    "read_annotations": "training.annotation",
    "read_training": "training.examples",
    "train": "training.trainer",
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

__getattr__, __dir__ = on_first_use(__name__, _HOMES, __all__)
