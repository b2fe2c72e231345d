"""Who an account is: DID → document, key, host; handle ↔ DID (spec/protocol §9, spec/services (a)).

Knows nothing of Postgres: what must survive a restart goes through ``cache.Shelf``.
"""
