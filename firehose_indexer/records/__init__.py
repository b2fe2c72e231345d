"""records/: one record operation becomes a row, and the effects that follow from the row.

Pure: no asyncio, no driver. One file per collection, each ending in a ``COLLECTION`` declaration that
the registry finds by itself. Spec: records.md.
"""
