"""Measuring models: readers of the data sets, metrics, and the parts of `moos evaluate`."""
