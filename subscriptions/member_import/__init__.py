"""Import of a club's member list: people, and the period that each of them has paid for.

`files` reads a file into lines, `lines` checks the values of a line, `importing` writes people and periods, and
`reports` says what was done. docs/import.md describes the file, and how an existing person is recognised. So the same
file can be imported twice.
"""
