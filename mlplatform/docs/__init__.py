"""Pages and documents for people who write clients: the landing page, the API in OpenAPI, every problem in words."""
