"""Measuring models: readers of the data sets, metrics, and the parts of `moos evaluate`; and `calibrate`."""

from moos_integrations.evaluation.calibration import Calibration, calibrate

__all__ = ["Calibration", "calibrate"]
