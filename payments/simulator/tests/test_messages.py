"""Text messages of others on the simulated phones."""


def test_a_text_message_of_the_club_appears_on_the_phone(client):
    answer = client.control("sms/", {"phone": "254712345678", "text": "123456 is your code."})

    (phone,) = client.control("phones/?phones=254712345678").json()["phones"]
    assert answer.json() == {"status": "ok"}
    assert [message["text"] for message in phone["messages"]] == ["123456 is your code."]


def test_a_text_message_to_no_phone_is_refused(client):
    answer = client.control("sms/", {"phone": "12", "text": "Hello"})

    assert answer.status_code == 400
