"""The theme of the admin (django-unfold): its colours and its parts.

The colours are those of the reference application (docs/spa/style.css). Text has the contrast of WCAG AA in the light
and the dark theme (config/tests/test_looks.py).
"""

from django.templatetags.static import static

COLORS = {
    "base": {
        "50": "#faf7f2",
        "100": "#f4eee6",
        "200": "#e6dccf",
        "300": "#d3c5b5",
        "400": "#a89888",
        "500": "#756659",
        "600": "#5a4e46",
        "700": "#453b34",
        "800": "#322a25",
        "900": "#1f1814",
        "950": "#15100d",
    },
    "primary": {
        "50": "#fdf3ee",
        "100": "#fbe3d7",
        "200": "#f7c6ae",
        "300": "#f5ab85",
        "400": "#f2905f",
        "500": "#ea7340",
        "600": "#b53f15",
        "700": "#a33610",
        "800": "#842d10",
        "900": "#6a2812",
        "950": "#3a1207",
    },
}


def unfold_settings(club_name: str) -> dict:
    """Return the UNFOLD setting."""
    return {
        "SITE_TITLE": club_name,
        "SITE_HEADER": club_name,
        "SITE_SYMBOL": "fitness_center",
        "SITE_URL": None,
        "SIDEBAR": {"show_search": True, "navigation": "config.desk.sidebar.navigation"},
        "DASHBOARD_CALLBACK": "config.desk.dashboard.add_figures",
        "STYLES": [lambda request: static("desk/desk.css")],
        "COLORS": COLORS,
    }
