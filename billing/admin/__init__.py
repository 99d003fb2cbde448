"""The staff's pages of contracts and usage. Importing this registers them; the roof registers what names tenants or models."""

from billing.admin import subscriptions, usage_days, usage_records

__all__ = ["subscriptions", "usage_days", "usage_records"]
