"""The compression core: it knows no framework. Imports run one way; the order is in `tests/test_layers.py`."""
