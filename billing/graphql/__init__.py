"""The GraphQL face of billing: the plan, the limits and the usage of the caller's tenant."""
