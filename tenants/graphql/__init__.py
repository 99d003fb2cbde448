"""The GraphQL face of tenants, and what every floor's GraphQL shares: the call and its caller."""
