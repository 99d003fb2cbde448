"""The staff's pages of tenants, keys and people.

Importing this registers the pages that need nothing from other floors; ``mlplatform.admin`` registers the rest, with
what the floors above add to them.
"""

from tenants.admin import people

__all__ = ["people"]
