"""One's own picture: whatever is sent, what is kept is a small JPEG of our own making."""

import io
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.client import encode_multipart
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from accounts import pictures as picture_files
from accounts.models import CustomUser
from accounts.services import pictures
from accounts.tests.factories import UserFactory
from api.parsers import MAX_UPLOAD_BYTES
from api.tests.clients import browser, logged_in_as

pytestmark = [pytest.mark.django_db, pytest.mark.server]

PICTURE = "/api/v1/auth/me/picture/"


@pytest.fixture(autouse=True)
def media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


def image(kind="JPEG", size=(800, 600), mode="RGB", colour="red", **options) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, kind, **options)
    return out.getvalue()


def put(client, content: bytes, name="me.jpg", kind="image/jpeg"):
    return client.put(PICTURE, {"picture": SimpleUploadedFile(name, content, kind)}, format="multipart")


def kept(media):
    """Return the files that are kept."""
    return [path for path in media.rglob("*") if path.is_file()]


def png(width: int, height: int, data: bytes = b"", chunks: bytes = b"") -> bytes:
    """Return a PNG of that announced size around whatever data."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunks + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_is_kept_as_a_small_jpeg_under_a_random_name(media, kind):
    user = UserFactory()

    answer = put(logged_in_as(user), image(kind), name="asha-at-home.jpg")

    (path,) = kept(media)
    with Image.open(path) as found:
        assert (found.format, found.size) == ("JPEG", (512, 384))
    assert answer.status_code == 200
    assert answer.json()["data"]["profile_picture"] == f"https://testserver/media/profile_pictures/{path.name}"
    assert "asha" not in path.name
    assert len(path.stem) == 32


def test_nothing_but_pixels_is_kept(media):
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    exif[0x8825] = {1: "S", 2: (1.0, 17.0, 0.0)}

    put(logged_in_as(UserFactory()), image(exif=exif, comment=b"a secret place", icc_profile=b"x" * 200))

    (path,) = kept(media)
    with Image.open(path) as found:
        assert set(found.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert b"secret" not in path.read_bytes()


def test_a_photograph_taken_sideways_stands_upright(media):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to see it upright

    put(logged_in_as(UserFactory()), image(size=(400, 200), exif=exif))

    (path,) = kept(media)
    with Image.open(path) as found:
        assert found.size == (200, 400)


def test_what_is_transparent_becomes_white(media):
    put(logged_in_as(UserFactory()), image("PNG", size=(10, 10), mode="RGBA", colour=(0, 0, 0, 0)))

    (path,) = kept(media)
    with Image.open(path) as found:
        assert found.getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.django_db(transaction=True)
def test_a_new_picture_takes_the_old_ones_place(media):
    client = logged_in_as(UserFactory())
    put(client, image())
    (first,) = kept(media)

    put(client, image(colour="blue"))

    (second,) = kept(media)
    assert first.name != second.name


@pytest.mark.django_db(transaction=True)
def test_pictures_that_come_at_once_leave_one_file(media):
    user = UserFactory()
    barrier = Barrier(6)

    def upload(colour):
        barrier.wait()
        try:
            pictures.set_picture(user=user, file=io.BytesIO(image(size=(20, 20), colour=colour)), now=user.date_joined)
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(upload, ["red", "blue", "green", "black", "white", "grey"]))

    user.refresh_from_db()
    assert [path.name for path in kept(media)] == [user.profile_picture.name.rsplit("/")[-1]]


@pytest.mark.django_db(transaction=True)
def test_a_picture_is_removed_with_its_file_and_twice_is_harmless(media):
    client = logged_in_as(UserFactory())
    put(client, image())

    answers = [client.delete(PICTURE), client.delete(PICTURE)]

    assert [answer.status_code for answer in answers] == [204, 204]
    assert client.get("/api/v1/auth/me/").json()["data"]["profile_picture"] is None
    assert kept(media) == []


def test_the_old_file_stays_when_the_change_is_not_committed(media, monkeypatch):
    user = UserFactory()
    put(logged_in_as(user), image())
    before = kept(media)
    monkeypatch.setattr(CustomUser, "save", lambda *args, **kwargs: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        pictures.set_picture(user=user, file=io.BytesIO(image()), now=user.date_joined)

    assert kept(media) == before


def animated(kind):
    out = io.BytesIO()
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    frames[0].save(out, kind, save_all=True, append_images=frames[1:])
    return out.getvalue()


def png_with_swollen_text():
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 70_000_000, zip=True)
    out = io.BytesIO()
    Image.new("RGB", (10, 10)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


HOSTILE = {
    "a page named .jpg": lambda: b"<html><script>alert(1)</script></html>",
    "a script within a drawing": lambda: b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    "another kind of image": lambda: image("GIF", mode="P", colour=0),
    "a program that draws": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "a photograph cut short": lambda: image()[:2000],
    "a picture cut short": lambda: image("PNG")[:200],
    "a header and nothing else": lambda: image("WEBP")[:20],
    "moving PNG": lambda: animated("PNG"),
    "moving WebP": lambda: animated("WEBP"),
    "fifty thousand pixels each way": lambda: png(50_000, 50_000, zlib.compress(b"\0" * 1000)),
    "ten thousand pixels each way": lambda: png(10_000, 10_000, zlib.compress(b"\0" * 1000)),
    "no pixels": lambda: png(0, 0),
    "text that swells": png_with_swollen_text,
    "damaged data": lambda: png(100, 100, b"\x78\x9c" + b"\xff" * 100),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_and_nothing_is_kept(media, name):
    answer = put(logged_in_as(UserFactory()), HOSTILE[name]())

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unusable_picture")
    assert kept(media) == []


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@given(st.data())
def test_a_damaged_file_gives_a_small_picture_or_a_refusal_and_never_a_fault(kind, data):
    content = bytearray(image(kind, size=(40, 30)))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))

    try:
        drawn = picture_files.reencode(io.BytesIO(bytes(content)))
    except picture_files.UnusablePicture:
        return
    with Image.open(io.BytesIO(drawn)) as found:
        assert found.format == "JPEG"
        assert max(found.size) <= 512


def test_one_picture_is_decoded_at_a_time_in_a_process(monkeypatch):
    at_once, most = [], []

    def slow(file):
        at_once.append(file)
        most.append(len(at_once))
        time.sleep(0.01)
        at_once.pop()

    monkeypatch.setattr(picture_files, "_reencode", slow)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(picture_files.reencode, range(8)))

    assert max(most) == 1


def test_pixels_beyond_the_announced_size_are_not_drawn(media):
    swollen = png(100, 100, zlib.compress(b"\0" * 50_000_000))

    answer = put(logged_in_as(UserFactory()), swollen)

    assert answer.status_code in (200, 400)
    for path in kept(media):
        with Image.open(path) as found:
            assert found.size == (100, 100)


def test_an_upload_over_six_megabytes_is_not_read(media):
    answer = put(logged_in_as(UserFactory()), b"x" * (MAX_UPLOAD_BYTES + 1))

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_a_file_over_five_megabytes_is_refused():
    answer = put(logged_in_as(UserFactory()), image() + b"x" * (5 * 1024 * 1024))

    assert answer.json()["error"]["details"] == [
        {"field": "picture", "code": "too_large", "message": "This picture is larger than 5 MB. Choose a smaller one."}
    ]


@pytest.mark.parametrize("body", [{}, {"picture": ""}, {"picture": "text"}])
def test_a_form_without_a_file_is_refused(body):
    answer = logged_in_as(UserFactory()).put(PICTURE, body, format="multipart")

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "validation_error")


def test_only_a_form_is_taken():
    answer = logged_in_as(UserFactory()).put(PICTURE, {"picture": "x"}, format="json")

    assert answer.status_code == 415


@pytest.mark.parametrize(
    "kind",
    ["multipart/form-data", "multipart/form-data; boundary=x; charset=zlib", "multipart/form-data; boundary=\xe9"],
)
def test_a_form_that_cannot_be_read_is_refused(kind):
    answer = logged_in_as(UserFactory()).generic("PUT", PICTURE, b"--x\r\n\r\n", content_type=kind)

    assert (answer.status_code, answer.json()["status"]) == (400, "error")


def test_a_form_in_another_encoding_is_refused(media):
    form = encode_multipart("x", {"picture": SimpleUploadedFile("me.jpg", image(), "image/jpeg")})
    kind = "multipart/form-data; boundary=x; charset=latin-1"

    answer = logged_in_as(UserFactory()).generic("PUT", PICTURE, form, content_type=kind)

    assert (answer.status_code, answer.json()["error"]["code"], kept(media)) == (400, "parse_error", [])


def test_an_upload_needs_the_csrf_token():
    client = logged_in_as(UserFactory())
    client.csrf_token = None

    answer = put(client, image())

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "csrf_failed")


def test_a_stranger_has_no_picture():
    assert put(browser(), image()).status_code == 401


def test_one_person_may_upload_only_so_often(monkeypatch):
    monkeypatch.setattr(pictures, "UPLOADS_PER_PERSON", 1)
    client = logged_in_as(UserFactory())

    answers = [put(client, image()), put(client, image())]

    assert [answer.status_code for answer in answers] == [200, 429]


def test_a_kept_picture_is_shown_as_an_image_and_may_load_nothing():
    client = logged_in_as(UserFactory())
    shown = put(client, image()).json()["data"]["profile_picture"]

    answer = browser().get(shown.removeprefix("https://testserver"))
    answer.close()

    assert (answer.status_code, answer["Content-Type"]) == (200, "image/jpeg")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
