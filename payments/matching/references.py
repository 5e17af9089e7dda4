"""Payment references: `K`, two digits, four random characters and a check character, such as `K13FS986`.

The two digits tell a mistyped reference from a name or a number plate, which have letters there: with one wrong
character, or two swapped, one digit is left. References of earlier versions may have letters there; they stay right.

The payer sees the reference on the phone and may type it as the paybill account. So it is short, has no look-alike
characters (no O, I, L, U, Z), and has a check character. The check uses weights that are powers of 3 modulo the prime
31 (the pure system of ISO 7064, with a smaller modulus). It finds every single wrong character and every swap of two
characters, adjacent or not.
"""

import secrets

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXY"
DIGITS = ALPHABET[:10]
PREFIX = "K"
LENGTH = 8
MODULUS = len(ALPHABET)  # 31: a prime, so no difference of two characters is a multiple of it
RADIX = 3  # its powers modulo 31 are all different for 30 positions
# Characters that people type in place of one that looks like it.
LOOK_ALIKES = str.maketrans({"O": "0", "I": "1", "L": "1", "U": "V", "Z": "2"})


def checksum(text: str) -> int:
    """Return the weighted sum of `text` modulo 31. It is zero for a reference with its check character.

    :raises ValueError: a character is not in the alphabet
    """
    total = 0
    for character in text:
        total = (total * RADIX + ALPHABET.index(character)) % MODULUS
    return total


def with_check_character(text: str) -> str:
    """Return `text` followed by the character that makes its checksum zero."""
    return text + ALPHABET[-checksum(text) * RADIX % MODULUS]


def generate() -> str:
    """Return a new random reference, one of 92 million. The caller checks that it is not taken."""
    digits = (secrets.choice(DIGITS) for _ in range(2))
    return with_check_character(PREFIX + "".join([*digits, *(secrets.choice(ALPHABET) for _ in range(LENGTH - 4))]))


def is_reference(text: str) -> bool:
    """Return whether `text` is a reference exactly as we print it."""
    return (
        len(text) == LENGTH
        and text.startswith(PREFIX)
        and all(character in ALPHABET for character in text)
        and checksum(text) == 0
    )


def resembles_reference(typed: str) -> bool:
    """Return whether `typed` was surely meant as a reference, right or wrong.

    Names and number plates were not: `Kamau254`, `Kipchoge` and `KMCA 123A` have letters in place of the digits. An
    identity card has eight digits.
    """
    text = "".join(character for character in typed.upper() if character.isalnum()) if typed.isascii() else ""
    if len(text) != LENGTH or text.isdigit():
        return False
    if text.startswith(PREFIX) or (text[0].isdigit() and text[1] == PREFIX):  # the second: K and a digit swapped
        return any(character.isdigit() for character in text[1:3])
    return text[1:3].isdigit() and is_reference(PREFIX + text[1:])


def repair(typed: str) -> str | None:
    """Return the reference that `typed` means, or None when the check character does not prove one.

    Case, spaces, dashes and look-alikes (O for 0, I or L for 1, U for V, Z for 2) are corrected.
    """
    text = plain(typed)
    return text if is_reference(text) else None


def plain(typed: str) -> str:
    """Return `typed` without case, spaces, dashes and look-alikes, or an empty text when it is not ASCII."""
    if not typed.isascii():
        return ""
    return "".join(character for character in typed.upper() if character.isalnum()).translate(LOOK_ALIKES)
