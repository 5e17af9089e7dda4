"""The admin's session in the OpenAPI document."""

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension


class AdminSessionScheme(OpenApiAuthenticationExtension):
    """The admin's session, for staff who are logged in there."""

    target_class = "accounts.authentication.AdminSessionAuthentication"
    name = "adminSession"

    def get_security_definition(self, auto_schema):
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}
