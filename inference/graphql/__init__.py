"""The GraphQL face of models and predictions."""
