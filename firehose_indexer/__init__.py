"""The AT Protocol network, verified and exactly once, in your own Postgres."""
