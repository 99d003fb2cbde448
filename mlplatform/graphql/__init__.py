"""GraphQL over HTTP: requests, limits, cost, execution and answers. The schema is joined in ``mlplatform.schema``."""
