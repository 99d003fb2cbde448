"""What a tenant's end users may like: items, likes, recommendations."""
