"""The staff's pages of contracts and usage. Importing this registers them; the roof registers what names tenants or models."""

from billing.admin import subscriptions

__all__ = ["subscriptions"]
