"""From single inputs of many callers to batches for a worker, and from its replies back to the callers."""
