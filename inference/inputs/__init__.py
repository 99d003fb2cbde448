"""Inputs of models: checked, canonical bytes out of JSON, images and texts."""
