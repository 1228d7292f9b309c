"""Networks as kernels, and their weights on the eigendirections of data. Imports torch."""
