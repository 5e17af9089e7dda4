"""Every address the product answers."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/v1/", include("accounts.urls")),
    path("api/v1/", include("payments.urls")),
    path("api/v1/", include("subscriptions.urls")),
]
