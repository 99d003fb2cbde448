"""Demo models that really work: their cards, and how to put their artefacts together. Imports no torch."""

from inference.demo.cards import DemoCard, Measurement, cards
from inference.demo.installation import EncoderMissing, assemble

__all__ = ["DemoCard", "EncoderMissing", "Measurement", "assemble", "cards"]
