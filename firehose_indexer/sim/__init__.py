"""sim/: a small AT Protocol network on loopback, for the demo, the bench and the tests.

Seeded: the same seed gives the same bytes. What it emits is real: signed commits over real trees, in
the shapes of spec/protocol §1–§2. ``World`` decides and performs what people do, ``Relay`` serves it,
``Faults`` breaks it where a test says so. Design: design.md §7.
"""
