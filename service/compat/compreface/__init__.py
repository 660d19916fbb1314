"""CompreFace's REST API, as its SDKs and Double Take call it.

What it says is in CompreFace's docs, what is different here in `deploy/migrate.md`. It translates
and decides nothing: faces are recognised where all routes have it done.
"""
