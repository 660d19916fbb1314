"""Everything that both engines do the same: each statement is written once, for both dialects.

The functions take a session of either engine. With SQLite a session never waits, so the writer
runs a function from its start to its end in one step (see `run_now`).
"""
