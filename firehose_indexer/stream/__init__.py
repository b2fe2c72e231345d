"""stream/: a relay URL and a cursor, or a recording, become typed events in order.

Knows nothing of records or Postgres. Spec: protocol §1–§4, services (j).
"""
