"""The app config that replaces Django's admin site by ours."""

from django.contrib.admin.apps import AdminConfig


class ClubAdminConfig(AdminConfig):
    default_site = "accounts.admin_site.ClubAdminSite"
