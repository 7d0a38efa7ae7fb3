"""What the numbers in RESULTS.md are made with: readers of our data sets, and the parts of an evaluation."""
