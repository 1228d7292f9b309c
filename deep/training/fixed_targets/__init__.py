"""Small networks on targets that are fixed before training, all samples in memory: simulations.

The benchmark's runs, with augmentation, methods that keep a state and checkpoints, are one folder
up.
"""
