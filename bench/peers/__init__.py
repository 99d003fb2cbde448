"""Other model servers that serve the same weights, in an environment of their own: ``python -m bench.peers.install``."""
