"""The path of a prediction: ``predict`` is the one door of every face."""
