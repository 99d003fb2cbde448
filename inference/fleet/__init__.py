"""The workers: which are alive, what they hold, which are drained, and the broker's lists that feed them."""
