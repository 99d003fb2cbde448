"""The parts of a model worker: what is loaded, how a batch is computed, and how its end is told."""
