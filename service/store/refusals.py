"""What a store says no with, whichever engine it is; no sentence repeats who is meant."""

from datetime import timedelta

from service.errors import (
    CollectionExists,
    CollectionNotFound,
    IdempotencyConflict,
    NoMasterKey,
    StoreUnavailable,
    SubjectElsewhere,
    SubjectExists,
    SubjectNotFound,
    TemplateIdTaken,
    TemplateNotFound,
)

# How long the outcome of a request is kept under its idempotency key.
IDEMPOTENCY_LASTS = timedelta(hours=24)


def no_subject() -> SubjectNotFound:
    return SubjectNotFound("There is no subject with this id.")


def name_taken() -> SubjectExists:
    return SubjectExists("There is a subject of the new name; choose another, or delete that one.")


def no_template() -> TemplateNotFound:
    return TemplateNotFound("The subject has no template with this id.")


def id_taken() -> TemplateIdTaken:
    return TemplateIdTaken(
        "This template id belongs to another template; choose another id, or delete that one."
    )


def no_such_template() -> TemplateNotFound:
    return TemplateNotFound("There is no template with this id.")


def no_collection() -> CollectionNotFound:
    return CollectionNotFound("There is no collection of this name.")


def collection_exists() -> CollectionExists:
    return CollectionExists("There is a collection of this name; choose another.")


def elsewhere() -> SubjectElsewhere:
    return SubjectElsewhere(
        "The subject is in another collection; choose another id, or delete it there."
    )


def key_reused() -> IdempotencyConflict:
    return IdempotencyConflict(
        "This idempotency key was used for another request; choose a new key for each."
    )


def closed() -> StoreUnavailable:
    return StoreUnavailable("The store is closed.")


def newer_database(version: int, known: int) -> StoreUnavailable:
    return StoreUnavailable(
        f"The database has version {version}, and this release knows {known} at most: it was "
        "written by a newer release. Start that one, or restore a backup."
    )


def no_master_key() -> NoMasterKey:
    return NoMasterKey("There is no master key to seal by; set LIKENESS_MASTER_KEYS_FILE.")


def keys_lost(subjects: int) -> StoreUnavailable:
    return StoreUnavailable(
        f"The database holds {subjects:,} subjects whose keys it does not hold. A backup without "
        "the table data_keys needs the newest copy of that table beside it."
    )
