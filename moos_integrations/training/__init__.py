"""Training of token classifiers: labels, the MOOSComp loss, and the run that made the bundled model."""
