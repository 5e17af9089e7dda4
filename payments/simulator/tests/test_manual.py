"""docs/simulator.md lists all faults and options."""

from pathlib import Path

from payments.simulator.faults import MAGIC_PHONES, PLACES
from payments.simulator.options import CHOICES

MANUAL = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text()


def test_manual_lists_every_magic_phone_with_its_fault():
    rows = {tuple(cell.strip(" `") for cell in line.split("|")[1:3]) for line in MANUAL.splitlines() if "|" in line}

    for phone, behaviour in MAGIC_PHONES.items():
        faults = {name for place, name in behaviour.as_dict().items() if place != "person"} or {behaviour.person}
        assert phone in MANUAL
        assert phone == "254708374149" or {(phone, fault) for fault in faults} <= rows


def test_manual_lists_every_fault_and_option():
    for names in PLACES.values():
        for name in names:
            assert f"`{name}`" in MANUAL, name
    for option in CHOICES:
        assert f"`--{option.replace('_', '-')}`" in MANUAL, option
