"""CompreFace's face collection in the store: each of its examples is a template."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

from models.decision import Template
from service.compat.compreface.schemas import Example, Examples
from service.errors import SubjectNotFound, TemplateNotFound
from service.recognition.recogniser import Recogniser
from service.store import Change, Deletion, GalleryTemplate, Store

_PAGE = 1000
_COLLECTION: Final = ""


@dataclass(frozen=True, slots=True)
class FaceCollection:
    """Find the examples: the unexpired templates of one bundle, the oldest first.

    They are those of the store's default collection; subjects of other collections are not
    visible here. `template_of` makes a stored template comparable.
    """

    store: Store
    fingerprint: str
    template_of: Callable[[GalleryTemplate], Template]

    @classmethod
    def of(cls, store: Store, recogniser: Recogniser) -> Self:
        """Return the examples of a recogniser's bundle."""
        return cls(store, recogniser.fingerprint, recogniser.template)

    async def page(self, subject: str | None, number: int, size: int) -> Examples:
        """Return a page of one subject's examples or of all; the first page has the number 0."""
        first = number * size
        if subject is None:
            total = (await self.store.lack(self._all_lacking, _COLLECTION)).templates
            examples = [each async for each in self._all(first, size)]
        else:
            of_subject = [
                Example(image_id=template_id, subject=subject)
                for template_id in await self._templates(subject)
            ]
            total, examples = len(of_subject), of_subject[first : first + size]
        return Examples(
            faces=examples,
            page_number=number,
            page_size=size,
            total_pages=-(-total // size),
            total_elements=total,
        )

    async def find(self, image_ids: Iterable[str]) -> list[Example]:
        """Return the examples with these ids; skip unknown ids."""
        examples: list[Example] = []
        for image_id in image_ids:
            with suppress(TemplateNotFound):
                examples.append(await self.example(image_id))
        return examples

    async def example(self, image_id: str) -> Example:
        """Return the example with an id. Raises TemplateNotFound."""
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
        """Return the names of all subjects, with or without examples, in their order."""
        page = await self.store.subjects(None, _PAGE)
        names = [each.subject for each in page.items]
        while page.next is not None:
            page = await self.store.subjects(page.next, _PAGE)
            names += [each.subject for each in page.items]
        return names

    async def delete(self, example: Example, by: str | None) -> bool:
        """Erase an example, and its subject with the last one; return False if there is none."""
        try:
            await self.store.delete_template(example.subject, example.image_id, by)
        except (SubjectNotFound, TemplateNotFound):
            return False
        return True

    async def rename_subject(self, subject: str, to: str, by: str | None) -> None:
        """Rename a subject. Raises SubjectNotFound, SubjectExists."""
        await self._check_collection(subject)
        await self.store.rename_subject(subject, to, by)

    async def delete_subject(self, subject: str, by: str | None) -> Deletion:
        """Erase a subject, with or without examples. Raises SubjectNotFound."""
        await self._check_collection(subject)
        return await self.store.delete_subject(subject, by)

    async def _check_collection(self, subject: str) -> None:
        if (await self.store.templates_of(subject)).collection != _COLLECTION:
            raise SubjectNotFound

    @property
    def _all_lacking(self) -> Change:
        # No bundle has an empty fingerprint, so every template is one that it lacks.
        return Change(self.fingerprint, "")

    async def _all(self, skip: int = 0, limit: int | None = None) -> AsyncIterator[Example]:
        number, index = 0, 0
        while page := await self.store.lacking(self._all_lacking, number, _PAGE, _COLLECTION):
            for each in page:
                if index - skip == limit:
                    return
                if index >= skip:
                    yield Example(image_id=each.template_id, subject=each.subject)
                index += 1
            number = page[-1].number

    async def _templates(self, subject: str) -> dict[str, Template]:
        try:
            stored = await self.store.templates_of(subject)
        except SubjectNotFound:
            return {}
        return {
            each.template_id: self.template_of(each)
            for each in stored.templates
            if each.fingerprint == self.fingerprint and stored.collection == _COLLECTION
        }


def _not_found() -> TemplateNotFound:
    return TemplateNotFound("There is no example with this id that faces are compared with now.")
