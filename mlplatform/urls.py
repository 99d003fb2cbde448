"""Every address of the product."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, register_converter

from mlplatform.api_urls import api
from mlplatform.graphql.view import graphql
from mlplatform.observability import health
from mlplatform.observability.metrics import metrics
from mlplatform.traffic_page import traffic_page


class ApiVersionConverter:
    """The first part of an API path: anything that looks like an API version, so that an unknown one gets its own error."""

    regex = r"v\d[^/]{0,15}"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(ApiVersionConverter, "api_version")

urlpatterns: list[URLPattern | URLResolver] = [
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics),
    path("", include("mlplatform.docs.urls")),
    path("admin/traffic/", admin.site.admin_view(traffic_page), name="traffic"),
    path("", include("tenants.password_page")),
    path("admin/", admin.site.urls),
    path("graphql", graphql, name="graphql"),
    path("oip/", include("inference.oip.urls")),
    path("openai/v1/", include("inference.openai.urls")),
    path("<api_version:path_version>/", include(api)),
    path("", include(api)),
]

handler400 = "mlplatform.error_pages.bad_request"
handler403 = "mlplatform.error_pages.forbidden"
handler404 = "mlplatform.error_pages.not_found"
handler500 = "mlplatform.error_pages.server_error"
