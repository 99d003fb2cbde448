"""Models of tenants compute in processes of their own, each behind limits of time and memory, without network and secrets.

``loading.load`` is the door: it gives a model that is used like any other. What a tenant's model breaks, it breaks alone.
"""
