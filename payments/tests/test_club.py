"""What anybody may know of the club before they pay it."""

from rest_framework.test import APIClient


def club():
    return APIClient().get("/api/v1/club/").json()["data"]


def test_a_stranger_reads_the_paybill_and_where_the_terms_stand(settings):
    settings.CLUB_NAME, settings.CLUB_TERMS_URL = "Simba Gym", "https://simba.example/terms"
    settings.DARAJA_SHORTCODE, settings.DARAJA_TILL = "600000", ""

    assert club() == {
        "name": "Simba Gym",
        "terms_url": "https://simba.example/terms",
        "paybill": "600000",
        "till": None,
    }


def test_where_goods_are_bought_the_till_is_told_and_never_the_store_behind_it(settings):
    settings.CLUB_TERMS_URL = ""
    settings.DARAJA_SHORTCODE, settings.DARAJA_TILL = "600000", "517000"

    told = club()

    assert (told["terms_url"], told["paybill"], told["till"]) == (None, None, "517000")


def test_it_is_told_to_who_has_an_old_session_too():
    client = APIClient()
    client.cookies["Authentication"] = "of-another-day"

    assert client.get("/api/v1/club/").status_code == 200
