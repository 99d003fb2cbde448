"""Sampled calls of deprecated versions, kept without their content unless the tenant allows more."""
