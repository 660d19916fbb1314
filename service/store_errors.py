"""What can go wrong in the store; `service.errors` has the whole tree."""

from service.service_error import ServiceError


class StoreError(ServiceError):
    """The store does not have it, or is not there."""


class SubjectNotFound(StoreError):
    code = "subject_not_found"


class SubjectExists(StoreError):
    code = "subject_exists"


class TemplatesDamaged(StoreError):
    code = "templates_damaged"


class TemplatesExpired(StoreError):
    code = "templates_expired"


class TemplateNotFound(StoreError):
    code = "template_not_found"


class TemplateIdTaken(StoreError):
    code = "template_id_taken"


class CollectionNotFound(StoreError):
    code = "collection_not_found"


class CollectionExists(StoreError):
    code = "collection_exists"


class SubjectElsewhere(StoreError):
    code = "subject_elsewhere"


class IdempotencyConflict(StoreError):
    code = "idempotency_conflict"


class NoMasterKey(StoreError):
    code = "no_master_key"


class StoreUnavailable(StoreError):
    code = "store_unavailable"
    retry_after_s = 2


class StoreDamaged(StoreError):
    code = "store_damaged"


class StoreInUse(StoreError):
    code = "store_in_use"
    retry_after_s = 5
