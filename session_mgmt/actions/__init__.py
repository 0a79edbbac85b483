"""The rules of the app: one file per noun, and the only package that writes to the database.

A plain ``def`` may use the ORM; async code calls it through ``bridge``. Frequent writes are ledgers: they load the rows
of a group of writes, decide each write in memory, and write everything with a few statements. A single write is a group
of one, so that there is only one implementation.
"""
