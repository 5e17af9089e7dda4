"""How moments and days are written wherever Django writes them: 25 Nov 2026 16:15, on the 24 hours of Nairobi's clock.

Django's own English is American. What is read from forms is not changed: days are typed 2026-11-25.
"""

DATE_FORMAT = SHORT_DATE_FORMAT = "j M Y"
DATETIME_FORMAT = SHORT_DATETIME_FORMAT = "j M Y H:i"
TIME_FORMAT = "H:i"
MONTH_DAY_FORMAT = "j F"
FIRST_DAY_OF_WEEK = 1
