"""The one error of the launcher that is meant for people."""

from __future__ import annotations


class LaunchError(Exception):
    """The product cannot start or go on; the message names what is wrong and what to do about it."""


class StopRequestedError(Exception):
    """An operator asked to stop while the product was still starting."""
