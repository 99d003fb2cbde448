"""What operators see: health, metrics, traffic."""
