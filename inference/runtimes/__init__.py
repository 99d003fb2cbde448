"""Runtimes load a model version's artefact and run it. This is the only package that imports torch."""
