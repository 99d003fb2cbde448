"""Sampled calls of ending versions, kept without their content unless the tenant allows more."""
