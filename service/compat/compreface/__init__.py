"""CompreFace's REST API, as its SDKs and Double Take call it.

CompreFace's docs describe it; `deploy/migrate.md` lists the differences. This package only
translates: faces are recognised as for all other routes.
"""
