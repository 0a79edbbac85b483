"""The verbs: one file per noun, and the only room that writes to the database.

A plain ``def`` may use the ORM and is called through ``bridge``. Hot verbs are ledgers: they load the rows of a
group of writes, decide each write in memory, and write everything with a few statements. A single call is a group
of one; there is no second implementation.
"""
