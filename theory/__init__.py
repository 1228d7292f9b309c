"""Closed forms for what teachers and students learn. numpy and scipy, float64, no I/O.

``theory.flow`` treats gradient flow along the eigendirections of data, ``theory.labels``
what soft labels do, ``theory.ntk`` (the only part that imports torch) networks as kernels.
Importing this package loads none of them.
"""
