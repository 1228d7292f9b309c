"""Training: recipes, the loop, checkpoints, exact teacher outputs, keyed random streams."""
