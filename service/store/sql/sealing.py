"""Encryption keys: check them at the start, encrypt subjects, and encrypt keys again."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, or_, select, update

from service.store.audit import Event
from service.store.records import ResealCounts
from service.store.sql.audit_log import append
from service.store.sql.collections import DELETE_SUBJECTS, DELETE_TEMPLATES_OF
from service.store.sql.keys import add_data_key
from service.store.sql.read import subject_row
from service.store.sql.session import SUBJECT_LOCK, UNBOUND_LOCK, InList, Session
from service.store.sql.tables import data_keys, keys, photos, subjects, templates, unbound
from service.store.subject_row import SubjectRow
from service.store.unbound import AT_ONCE, bind_key, bind_row, bind_vector
from service.store.vault import Owner, Vault, WrappedKey, of_photo, signing_use

# The masters in use. Reads one index entry for each master key, however many keys there are.
_used = select(func.min(data_keys.c.master).label("master")).cte("used", recursive=True)
_used = _used.union_all(
    select(
        select(func.min(data_keys.c.master))
        .where(data_keys.c.master > _used.c.master)
        .scalar_subquery()
    ).where(_used.c.master.is_not(None))
)
_MASTERS: Final = select(_used.c.master).where(_used.c.master.is_not(None))

_KEYS: Final = select(
    data_keys.c.key_id, data_keys.c.master, data_keys.c.wrapped, keys.c.key_id.label("api_key")
).outerjoin(keys, keys.c.signing_key_id == data_keys.c.key_id)
_ONE_BY_MASTER: Final = _KEYS.where(data_keys.c.master == bindparam("master")).limit(1)
_LISTED: Final = _KEYS.where(InList(data_keys.c.key_id, "key_ids"), data_keys.c.master.is_not(None))
# Two ranges, so that the index is used.
_IS_OLD: Final = or_(
    data_keys.c.master < bindparam("current"), data_keys.c.master > bindparam("current")
)
_OLD_KEYS: Final = (
    _KEYS.where(_IS_OLD, data_keys.c.key_id > bindparam("after"))
    .order_by(data_keys.c.key_id)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True, of=data_keys)
)
_SET_KEY: Final = (
    update(data_keys)
    .where(data_keys.c.key_id == bindparam("id"))
    .values(master=bindparam("new_master"), wrapped=bindparam("new_wrapped"))
)

_IS_CLEAR: Final = subjects.c.key_id.is_(None)
_CLEAR: Final = (
    select(subjects.c.subject)
    .where(_IS_CLEAR)
    .order_by(subjects.c.subject)
    .limit(bindparam("limit"))
)
_LEFT: Final = select(
    select(func.count()).select_from(data_keys).where(_IS_OLD).scalar_subquery()
    + select(func.count()).select_from(subjects).where(_IS_CLEAR).scalar_subquery()
)
# By `master`, which is NULL for a destroyed key and has an index.
_ERASED: Final = (
    select(subjects.c.subject)
    .join(data_keys, data_keys.c.key_id == subjects.c.key_id)
    .where(data_keys.c.master.is_(None))
)

_CLEAR_SUBJECT: Final = select(
    subjects.c.key_id, subjects.c.metadata, subjects.c.terms, subjects.c.collection
).where(subjects.c.subject == bindparam("name"))
_SEAL_SUBJECT: Final = (
    update(subjects)
    .where(subjects.c.subject == bindparam("name"))
    .values(
        key_id=bindparam("new_key_id"),
        metadata=bindparam("new_metadata"),
        terms=bindparam("new_terms"),
    )
)
VECTORS: Final = select(
    templates.c.number,
    templates.c.vector,
    templates.c.template_id,
    templates.c.image_sha256,
    templates.c.fingerprint,
).where(templates.c.subject == bindparam("name"))
_SET_VECTOR: Final = (
    update(templates)
    .where(templates.c.number == bindparam("at"))
    .values(vector=bindparam("sealed"))
)
_PHOTOS: Final = select(photos.c.number, photos.c.image_sha256, photos.c.photo).where(
    photos.c.subject == bindparam("name")
)
_SET_PHOTO: Final = (
    update(photos).where(photos.c.number == bindparam("at")).values(photo=bindparam("sealed"))
)

_UNBOUND: Final = (
    delete(unbound)
    .where(unbound.c.key_id.in_(select(unbound.c.key_id).limit(AT_ONCE)))
    .returning(unbound.c.key_id)
)
_UNBOUND_SUBJECTS: Final = (
    select(
        subjects.c.subject,
        subjects.c.collection,
        subjects.c.metadata,
        subjects.c.terms,
        data_keys.c.key_id,
        data_keys.c.master,
        data_keys.c.wrapped,
    )
    .join(data_keys, data_keys.c.key_id == subjects.c.key_id)
    .where(InList(data_keys.c.key_id, "key_ids"), data_keys.c.master.is_not(None))
)
_BIND_SUBJECT: Final = (
    update(subjects)
    .where(subjects.c.subject == bindparam("name"))
    .values(metadata=bindparam("new_metadata"), terms=bindparam("new_terms"))
)


async def make_ready(session: Session, now: datetime) -> None:
    """Check that the vault decrypts the database, and erase again what a backup brought back.

    Those are subjects whose key was destroyed. Raises InvalidSettings if a master key is missing,
    StoreUnavailable if the subjects' keys are missing.
    """
    masters = [master for (master,) in await session.rows(_MASTERS)]
    session.vault.check([each for each in masters if not await _opens_one(session, each)])
    await session.check()
    names = [subject for (subject,) in await session.rows(_ERASED)]
    if not names:
        return
    gone = await session.rows(DELETE_TEMPLATES_OF, names=names)
    await session.run(DELETE_SUBJECTS, names=names)
    session.remove_from_index([template_id for (template_id,) in gone])
    counts = {"subjects": len(names), "templates": len(gone)}
    await append(session, Event("erased_again", counts=counts), now)


async def bind(session: Session) -> bool:
    """Bind the values of some listed keys (see `unbound`); return False if no key was listed."""
    # Replicas that start at the same time take turns, and each continues when all is done.
    await session.lock("likeness.unbound", UNBOUND_LOCK)
    key_ids = [key_id for (key_id,) in await session.rows(_UNBOUND)]
    for subject, *columns in await session.rows(_UNBOUND_SUBJECTS, key_ids=key_ids):
        await _bind_subject(session, subject, *columns)
    uses = await session.space_uses(key_ids)
    for key_id, master, blob, api_key in await session.rows(_LISTED, key_ids=key_ids):
        use = _use(key_id, api_key, uses)
        if use:
            await _set_key(session, bind_key(session.vault, WrappedKey(key_id, master, blob), use))
    return bool(key_ids)


async def _bind_subject(
    session: Session,
    subject: str,
    collection: str,
    metadata: bytes,
    terms: bytes | None,
    *key: Any,
) -> None:
    owner, cipher = Owner(subject, collection), session.vault.cipher(WrappedKey(*key))
    new_metadata, new_terms = bind_row(cipher, owner, metadata, terms)
    await session.run(_BIND_SUBJECT, name=subject, new_metadata=new_metadata, new_terms=new_terms)
    await session.run_each(
        _SET_VECTOR,
        [
            {"at": number, "sealed": bind_vector(cipher, owner, vector, *of_template)}
            for number, vector, *of_template in await session.rows(VECTORS, name=subject)
        ],
    )


async def sealed_subject_row(session: Session, subject: str) -> SubjectRow:
    """Return a subject's row for writing; if there is a master key, encrypt the subject first.

    The caller must hold the subject's lock.
    """
    if session.vault.current is not None:
        await _seal_subject(session, session.vault, subject)
    return await subject_row(session, subject)


async def seal_subjects(session: Session, names: Sequence[str]) -> None:
    """Encrypt some subjects, unless they are encrypted or deleted already."""
    for name in names:
        await session.lock(name, SUBJECT_LOCK)
        await _seal_subject(session, session.vault, name)
    session.erase()


async def clear_subjects(session: Session, limit: int) -> list[str]:
    """Return at most `limit` unencrypted subjects, in the same order for all replicas."""
    return [subject for (subject,) in await session.rows(_CLEAR, limit=limit)]


async def rewrap(session: Session, limit: int) -> tuple[int, int]:
    """Encrypt at most `limit` keys by the current master key.

    Returns their number, and the number of damaged keys that were met. Damaged keys stay as they
    are; they are not part of the work that is left.
    """
    done, damaged, after = 0, 0, ""
    while done < limit:
        rows = await session.rows(
            _OLD_KEYS, current=session.vault.current, after=after, limit=limit - done
        )
        if not rows:
            break
        after = rows[-1][0]
        uses = await session.space_uses([row[0] for row in rows])
        rewrapped, lost = session.vault.rewrap_some(
            (_wrapped(uses, *row) for row in rows), limit - done
        )
        damaged += lost
        done += len(rewrapped)
        for new in rewrapped:
            await _set_key(session, new)
    return done, damaged


async def resealed(
    session: Session, keys_: int, subjects_: int, damaged: int, by: str | None, now: datetime
) -> ResealCounts:
    """Count the work that is left, without `damaged` keys, and log what was done.

    When nothing is left, the database may still hold remains of unencrypted values.
    """
    ((left,),) = await session.rows(_LEFT, current=session.vault.current)
    if keys_ or subjects_:
        counts = {"keys": keys_, "subjects": subjects_}
        await append(session, Event("resealed", key_id=by, counts=counts), now)
    session.erase(compacts=left == damaged)
    return ResealCounts(keys_, subjects_, left - damaged)


async def _set_key(session: Session, new: WrappedKey) -> None:
    await session.run(_SET_KEY, id=new.key_id, new_master=new.master, new_wrapped=new.blob)


async def _opens_one(session: Session, master: str) -> bool:
    """Tell whether an unknown master key id is damaged, because the vault decrypts its key."""
    if master in session.vault.master_ids:
        return False
    rows = await session.rows(_ONE_BY_MASTER, master=master)
    uses = await session.space_uses([row[0] for row in rows])
    return any(session.vault.opens(_wrapped(uses, *row)) for row in rows)


def _wrapped(
    uses: Mapping[str, str], key_id: str, master: str, blob: bytes, api_key: str | None
) -> WrappedKey:
    return WrappedKey(key_id, master, blob, _use(key_id, api_key, uses))


def _use(key_id: str, api_key: str | None, uses: Mapping[str, str]) -> str:
    """Return the use of a key, by the API key or the search index that it belongs to, if any."""
    return uses.get(key_id, "") if api_key is None else signing_use(api_key)


async def _seal_subject(session: Session, vault: Vault, subject: str) -> None:
    """Encrypt all values of a subject under a new key, unless it has a key."""
    rows = await session.rows(_CLEAR_SUBJECT, name=subject)
    if not rows or rows[0][0] is not None:
        return
    _, metadata, terms, collection = rows[0]
    owner = Owner(subject, collection)
    key, cipher = vault.new_key()
    await add_data_key(session, key)
    await session.run(
        _SEAL_SUBJECT,
        name=subject,
        new_key_id=key.key_id,
        new_metadata=cipher.seal(metadata, owner.metadata),
        new_terms=None if terms is None else cipher.seal(terms, owner.terms),
    )
    for number, vector, *of_template in await session.rows(VECTORS, name=subject):
        sealed = cipher.seal(vector, owner.vector(*of_template))
        # A sweep may have erased it meanwhile.
        if await session.run(_SET_VECTOR, at=number, sealed=sealed):
            await session.seal_in_index(owner, number, of_template[-1], vector)
    for number, image, photo in await session.rows(_PHOTOS, name=subject):
        await session.run(_SET_PHOTO, at=number, sealed=cipher.seal(photo, of_photo(image)))
