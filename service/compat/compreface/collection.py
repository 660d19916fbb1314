"""CompreFace's face collection, as the store has it: an example there is a template here."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

from models.decision import Template
from service.compat.compreface.answers import Example, Examples
from service.errors import SubjectNotFound, TemplateNotFound
from service.recognition.recogniser import Recogniser
from service.store import Change, Deletion, GalleryTemplate, Store

_PAGE = 1000
_COLLECTION: Final = ""


@dataclass(frozen=True, slots=True)
class FaceCollection:
    """Find what a face is compared with: unexpired templates of one bundle.

    `template_of` makes what is compared of a template that is stored. Of the store's collections
    this is the default one, and no subject of another is seen. Examples are listed the oldest
    first.
    """

    store: Store
    fingerprint: str
    template_of: Callable[[GalleryTemplate], Template]

    @classmethod
    def of(cls, store: Store, serving: Recogniser) -> Self:
        """Return the templates of the bundle that decides now."""
        return cls(store, serving.fingerprint, serving.template)

    async def page(self, subject: str | None, number: int, size: int) -> Examples:
        """Return a page, the first of number 0, of one subject's examples or of all."""
        first = number * size
        if subject is None:
            total = (await self.store.lack(self._everything, _COLLECTION)).templates
            found = [each async for each in self._all(first, size)]
        else:
            examples = [
                Example(image_id=template_id, subject=subject)
                for template_id in await self._templates(subject)
            ]
            total, found = len(examples), examples[first : first + size]
        return Examples(
            faces=found,
            page_number=number,
            page_size=size,
            total_pages=-(-total // size),
            total_elements=total,
        )

    async def find(self, image_ids: Iterable[str]) -> list[Example]:
        """Return those of the examples that there are."""
        found: list[Example] = []
        for image_id in image_ids:
            with suppress(TemplateNotFound):
                found.append(await self.one(image_id))
        return found

    async def one(self, image_id: str) -> Example:
        """Return an example. Raises TemplateNotFound."""
        try:
            subject = await self.store.subject_of(image_id)
        except TemplateNotFound as exc:
            raise _not_found() from exc
        example = Example(image_id=image_id, subject=subject)
        await self.template(example)
        return example

    async def template(self, example: Example) -> Template:
        """Return the template of an example. Raises TemplateNotFound."""
        templates = await self._templates(example.subject)
        if example.image_id not in templates:
            raise _not_found()
        return templates[example.image_id]

    async def subjects(self) -> list[str]:
        """Return the names of all subjects, whatever they have, in their order."""
        page = await self.store.subjects(None, _PAGE)
        names = [each.subject for each in page.items]
        while page.next is not None:
            page = await self.store.subjects(page.next, _PAGE)
            names += [each.subject for each in page.items]
        return names

    async def delete(self, example: Example, by: str | None) -> bool:
        """Erase an example, and its subject with the last; False if it is gone already."""
        try:
            await self.store.delete_template(example.subject, example.image_id, by)
        except (SubjectNotFound, TemplateNotFound):
            return False
        return True

    async def rename_subject(self, subject: str, to: str, by: str | None) -> None:
        """Give a subject another name. Raises SubjectNotFound, SubjectExists."""
        await self._check_here(subject)
        await self.store.rename_subject(subject, to, by)

    async def delete_subject(self, subject: str, by: str | None) -> Deletion:
        """Erase a subject, whatever it has. Raises SubjectNotFound."""
        await self._check_here(subject)
        return await self.store.delete_subject(subject, by)

    async def _check_here(self, subject: str) -> None:
        if (await self.store.templates_of(subject)).collection != _COLLECTION:
            raise SubjectNotFound("There is no subject with this name.")

    @property
    def _everything(self) -> Change:
        # No bundle has this fingerprint: it lacks every photo there is a template of.
        return Change(self.fingerprint, "")

    async def _all(self, skip: int = 0, most: int | None = None) -> AsyncIterator[Example]:
        number, seen = 0, 0
        while page := await self.store.lacking(self._everything, number, _PAGE, _COLLECTION):
            for each in page:
                if seen - skip == most:
                    return
                if seen >= skip:
                    yield Example(image_id=each.template_id, subject=each.subject)
                seen += 1
            number = page[-1].number

    async def _templates(self, subject: str) -> dict[str, Template]:
        try:
            held = await self.store.templates_of(subject)
        except SubjectNotFound:
            return {}
        return {
            each.template_id: self.template_of(each)
            for each in held.templates
            if each.fingerprint == self.fingerprint and held.collection == _COLLECTION
        }


def _not_found() -> TemplateNotFound:
    return TemplateNotFound("There is no example of this id that faces are compared with now.")
