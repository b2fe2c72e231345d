"""The HTTP face: health, readiness, metrics, status. It reads facts and changes nothing.

Trouble here never reaches the stream: no handler touches the database or waits for anything.
"""
