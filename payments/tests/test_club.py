"""The public endpoint of the club."""

from rest_framework.test import APIClient


def club():
    return APIClient().get("/api/v1/club/").json()["data"]


def test_club_endpoint_shows_paybill_and_terms_without_login(settings):
    settings.CLUB_NAME, settings.CLUB_TERMS_URL = "Simba Gym", "https://simba.example/terms"
    settings.DARAJA_SHORTCODE, settings.DARAJA_TILL = "600000", ""

    assert club() == {
        "name": "Simba Gym",
        "terms_url": "https://simba.example/terms",
        "paybill": "600000",
        "till": None,
    }


def test_buy_goods_club_shows_its_till_not_its_store_number(settings):
    settings.CLUB_TERMS_URL = ""
    settings.DARAJA_SHORTCODE, settings.DARAJA_TILL = "600000", "517000"

    told = club()

    assert (told["terms_url"], told["paybill"], told["till"]) == (None, None, "517000")


def test_expired_session_does_not_hide_the_club():
    client = APIClient()
    client.cookies["Authentication"] = "of-another-day"

    assert client.get("/api/v1/club/").status_code == 200
