"""repo/: what a repository is, and how a commit is read and checked.

Pure: no asyncio, no driver, no record semantics. Spec: protocol §5.
"""
