"""The staff's pages of contracts and usage. Importing this registers them; the roof registers tenants and prices."""

from billing.admin import limits, plans, subscriptions, usage_days, usage_records

__all__ = ["limits", "plans", "subscriptions", "usage_days", "usage_records"]
