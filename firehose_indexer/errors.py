"""One tree of errors, and the closed set of reason codes.

    IndexerError                 a user's or an operator's matter: message, hint, exit code
    ├── ConfigError          2   a flag, a variable or a file
    ├── DatabaseError        3   unreachable, wrong version, no rights
    │   └── SchemaError      4   newer than the code, or migrations not permitted
    ├── RelayRefused         5   the relay refused for good (FutureCursor under halt, 401, 404 …)
    └── WriterLocked         6   another indexer writes into this database
    Rejected                     bad input from outside: a Reason, never fatal
    └── FrameError  CarError  CommitError ── ProducerError  RecordError

A ``Rejected`` never crosses a room: whoever catches it counts it and decides the outcome
(spec/protocol §1, §5.1; spec/records §1.13).
"""

from __future__ import annotations

from enum import StrEnum


class IndexerError(Exception):
    """Something failed that a person can mend. ``hint`` says what to do next."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(IndexerError):
    """A setting is unknown, unreadable or out of range."""

    exit_code = 2


class DatabaseError(IndexerError):
    """The database cannot be used."""

    exit_code = 3


class SchemaError(DatabaseError):
    """The database's schema does not fit this version."""

    exit_code = 4


class RelayRefused(IndexerError):
    """The relay answered in a way that no retry will change."""

    exit_code = 5


class WriterLocked(IndexerError):
    """Another indexer holds the writer lock of this database and shard."""

    exit_code = 6


class Reason(StrEnum):
    """Why an input was not applied: the same word is metric label, log field and column value."""

    # framing, spec/protocol §1
    frame_text = "frame_text"
    frame_empty = "frame_empty"
    frame_too_big = "frame_too_big"
    frame_header_invalid = "frame_header_invalid"
    frame_op_unknown = "frame_op_unknown"
    frame_type_unknown = "frame_type_unknown"
    frame_payload_invalid = "frame_payload_invalid"
    frame_trailing = "frame_trailing"
    seq_invalid = "seq_invalid"
    seq_not_increasing = "seq_not_increasing"
    commit_fields_invalid = "commit_fields_invalid"
    sync_fields_invalid = "sync_fields_invalid"
    identity_fields_invalid = "identity_fields_invalid"
    account_fields_invalid = "account_fields_invalid"
    # commits, spec/protocol §5.1, in the order of the checks
    did_invalid = "did_invalid"
    did_method_unsupported = "did_method_unsupported"
    rev_invalid = "rev_invalid"
    blocks_too_big = "blocks_too_big"
    ops_too_many = "ops_too_many"
    blocks_missing = "blocks_missing"
    rev_stale = "rev_stale"
    rev_future = "rev_future"
    car_header_invalid = "car_header_invalid"
    car_truncated = "car_truncated"
    car_block_invalid = "car_block_invalid"
    car_too_many_blocks = "car_too_many_blocks"
    car_root_mismatch = "car_root_mismatch"
    commit_block_missing = "commit_block_missing"
    cid_not_blessed = "cid_not_blessed"
    block_hash_mismatch = "block_hash_mismatch"
    commit_object_invalid = "commit_object_invalid"
    commit_version = "commit_version"
    commit_did_mismatch = "commit_did_mismatch"
    commit_rev_mismatch = "commit_rev_mismatch"
    identity_unresolved = "identity_unresolved"
    identity_not_found = "identity_not_found"
    key_missing = "key_missing"
    key_unsupported = "key_unsupported"
    sig_format = "sig_format"
    sig_high_s = "sig_high_s"
    sig_invalid = "sig_invalid"
    mst_node_invalid = "mst_node_invalid"
    mst_key_invalid = "mst_key_invalid"
    mst_key_order = "mst_key_order"
    mst_prefix_invalid = "mst_prefix_invalid"
    mst_height_mismatch = "mst_height_mismatch"
    mst_empty_node = "mst_empty_node"
    mst_too_deep = "mst_too_deep"
    mst_too_wide = "mst_too_wide"
    op_action_unknown = "op_action_unknown"
    op_shape_invalid = "op_shape_invalid"
    op_duplicate_path = "op_duplicate_path"
    op_fold_invalid = "op_fold_invalid"
    op_tree_mismatch = "op_tree_mismatch"
    op_unprovable = "op_unprovable"
    inversion_incomplete = "inversion_incomplete"
    op_path_invalid = "op_path_invalid"
    record_block_missing = "record_block_missing"
    sync_oversize = "sync_oversize"
    # whole repos, spec/protocol §7
    repo_incomplete = "repo_incomplete"
    # records, spec/protocol §5.1 check 33 and spec/records §1.13
    record_too_big = "record_too_big"
    record_cbor_invalid = "record_cbor_invalid"
    record_too_deep = "record_too_deep"
    record_not_map = "record_not_map"
    bad_utf8 = "bad_utf8"
    bad_float = "bad_float"
    type_missing = "type_missing"
    type_mismatch = "type_mismatch"
    bad_rkey = "bad_rkey"
    missing_field = "missing_field"
    bad_field = "bad_field"
    bad_did = "bad_did"
    bad_uri = "bad_uri"
    not_owner = "not_owner"
    key_mismatch = "key_mismatch"
    db_refused = "db_refused"


class Rejected(Exception):
    """Input from outside that breaks a rule.

    ``reason`` is the code, ``field`` the record field it concerns (``missing_field:subject``),
    ``detail`` a short fact for the quarantine row. Never contains record bodies.
    """

    def __init__(self, reason: Reason, detail: str = "", *, field: str = "") -> None:
        super().__init__(reason, detail, field)
        self.reason = reason
        self.detail = detail
        self.field = field

    @property
    def code(self) -> str:
        """The stored form: ``reason`` or ``reason:field``."""
        return f"{self.reason}:{self.field}" if self.field else str(self.reason)


class FrameError(Rejected):
    """One WebSocket message is not a frame (spec/protocol §1)."""


class CarError(Rejected):
    """A CAR or a block in it is not what it claims (spec/protocol §5.5)."""


class CommitError(Rejected):
    """A commit fails a check of spec/protocol §5.1."""


class ProducerError(CommitError):
    """Proof that the repo's producer is broken: the repo is desynchronized, the frame kept as evidence."""


class RecordError(Rejected):
    """A record cannot become a row (spec/records §1.13)."""
