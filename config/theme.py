"""The colours of the admin: sand, ink and the clay of the reference application (docs/spa/style.css).

Text keeps the contrast of WCAG AA, in the light and the dark theme (config/tests/test_looks.py).
"""

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
