"""Text messages on the simulated phones."""


def test_message_of_the_club_appears_on_the_phone(client):
    answer = client.control("sms/", {"phone": "254712345678", "text": "123456 is your code."})

    (phone,) = client.control("phones/?phones=254712345678").json()["phones"]
    assert answer.json() == {"status": "ok"}
    (message,) = phone["messages"]
    assert (message["sender"], message["text"]) == ("KILABU FITNESS", "123456 is your code.")


def test_messages_have_their_senders(client):
    client.control("sms/", {"phone": "254712345678", "text": "Hello", "sender": "KILABU"})
    client.control("deposit/", {"phone": "254712345678", "amount": 5000})

    (phone,) = client.control("phones/?phones=254712345678").json()["phones"]

    assert [message["sender"] for message in phone["messages"]] == ["MPESA", "KILABU"]


def test_message_to_an_invalid_number_is_refused(client):
    answer = client.control("sms/", {"phone": "12", "text": "Hello"})

    assert answer.status_code == 400
