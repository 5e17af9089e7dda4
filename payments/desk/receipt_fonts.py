"""The fonts of PDF receipts: they print a name in any usual script.

Inter has the Latin letters. The other fonts are read only for a text that needs them, because reading them takes up to
a second: DejaVu Sans has Arabic, Cyrillic, Greek, Hebrew and symbols, Noto Sans Ethiopic has Amharic and Tigrinya, and
Droid Sans Fallback has Chinese, Japanese and Korean. A character that no font has is printed as a box.
"""

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from fpdf import FPDF
from fpdf.fonts import TTFFont

FONTS = Path(__file__).parent / "fonts"
FALLBACKS = {
    "DejaVu": "DejaVuSans-Bold.ttf",  # the first, because it has the box
    "Ethiopic": "NotoSansEthiopic-Bold.ttf",
    "Droid": "DroidSansFallback-Regular.ttf",
}
BOX = "\u25a1"
# They change only how an emoji looks: the joiner, the styles and the skin colours.
EMOJI_PARTS = dict.fromkeys([0x200D, 0xFE0E, 0xFE0F, *range(0x1F3FB, 0x1F400)])


class ReceiptPdf(FPDF):
    """A PDF with fonts for certain texts."""

    boxes: dict[int, str]  # for the characters that no font has

    def add_fonts_for(self, texts: Iterable[str]) -> None:
        """Add the fonts that have the characters of these texts."""
        for style, name in (("", "Regular"), ("B", "Bold")):
            self.add_font("Inter", style, FONTS / f"Inter-{name}.ttf")
        self.boxes = {}
        missing = {ord(each) for text in texts for each in self.printable(text)} - self._characters_of("inter")
        added = []
        for family, file in FALLBACKS.items():
            if missing:
                self.add_font(family, "B", FONTS / file)
                missing -= self._characters_of(family.lower())
                added.append(family)
        if added:
            self.set_fallback_fonts(added, exact_match=False)
            self.set_text_shaping(True)  # joins Arabic letters
        self.boxes = dict.fromkeys(missing, BOX)

    def printable(self, text: str) -> str:
        """Return the text with a box for each character that no font has."""
        return unicodedata.normalize("NFC", text).translate(EMOJI_PARTS).translate(self.boxes)

    def _characters_of(self, family: str) -> set[int]:
        font = self.fonts[f"{family}B"]
        assert isinstance(font, TTFFont)  # noqa: S101  it was added from a file
        return set(font.cmap)
