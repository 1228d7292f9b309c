"""Training: what a run is, the loop, ensembles of small networks, keyed random streams."""
