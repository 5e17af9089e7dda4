"""The URLs of the product."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path, re_path

from api.health import healthz, readyz
from api.views import DocsView, SchemaView, unknown_url, uploaded_file
from config.desk import cash_desk, charts, dashboard, day_page, member_page, search
from config.dev import reference_app
from payments.views.receipt_pdf import confirm_receipt

handler400 = "api.views.bad_request"
handler403 = "api.views.permission_denied"
handler404 = "api.views.not_found"
handler500 = "api.views.server_error"

urlpatterns = [
    # The most used URLs come first, because Django tries them in this order.
    path("api/v1/", include("accounts.urls")),
    path("api/v1/", include("payments.urls")),
    path("api/v1/", include("subscriptions.urls")),
    path("healthz", healthz),
    path("readyz", readyz),
    path("admin/members-today/", dashboard.show_members, name="members-today"),
    path("admin/charts/", charts.show_charts, name="charts"),
    path("admin/find/", search.find, name="find"),
    path("admin/members/<int:pk>/", member_page.show_member, name="member-page"),
    path("admin/members/<int:pk>/<slug:name>/", member_page.act_for_member, name="member-act"),
    path("admin/day/", day_page.show_day, name="day"),
    path("admin/cash-desk/", cash_desk.show_desk, name="cash-desk"),
    path("admin/cash-desk/<slug:name>/", cash_desk.act_at_desk, name="cash-desk-act"),
    path(
        "admin/cash-desk/voids/<int:pk>/<slug:name>/",
        cash_desk.decide_void,
        name="cash-desk-void",
    ),
    path("admin/", admin.site.urls),
    path("r/<str:token>/", confirm_receipt, name="genuine"),  # short, because it is in a QR code
    path("api/v1/schema/", SchemaView.as_view(), name="schema"),
    path("api/v1/docs/", DocsView.as_view(), name="docs"),
    re_path("^api/", unknown_url),
]

if not settings.PRODUCTION:
    urlpatterns += reference_app.urlpatterns
    # In production the web server serves uploads (docs/operations.md).
    urlpatterns.append(path(f"{settings.MEDIA_URL.strip('/')}/<path:path>", uploaded_file))
