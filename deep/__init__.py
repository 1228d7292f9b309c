"""The benchmark: data, networks, training and the records of runs."""
