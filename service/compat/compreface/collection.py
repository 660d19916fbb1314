"""CompreFace's face collection, as the store has it: an example there is a template here."""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass

from models.template import Template
from service.compat.compreface.answers import Example, Examples
from service.errors import SubjectNotFound, TemplateNotFound
from service.store import Change, Store

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class FaceCollection:
    """Find what a face is compared with: unexpired templates of one bundle.

    Examples are listed the oldest first. The store finds a template by its subject; where only
    its id is known, all are gone through.
    """

    store: Store
    fingerprint: str

    async def page(self, subject: str | None, number: int, size: int) -> Examples:
        """Return a page, the first of number 0, of one subject's examples or of all."""
        first = number * size
        if subject is None:
            total = (await self.store.lack(self._everything)).templates
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

    async def find(self, image_ids: Collection[str]) -> list[Example]:
        """Return those of the examples that there are."""
        found: list[Example] = []
        async for example in self._all():
            if example.image_id in image_ids:
                found.append(example)
                if len(found) == len(image_ids):
                    break
        return found

    async def one(self, image_id: str) -> Example:
        """Return an example. Raises TemplateNotFound."""
        found = await self.find({image_id})
        if not found:
            raise _not_found()
        return found[0]

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

    @property
    def _everything(self) -> Change:
        # No bundle has this fingerprint: it lacks every photo there is a template of.
        return Change(self.fingerprint, "")

    async def _all(self, skip: int = 0, most: int | None = None) -> AsyncIterator[Example]:
        number, seen = 0, 0
        while page := await self.store.lacking(self._everything, number, _PAGE):
            for each in page:
                if seen - skip == most:
                    return
                if seen >= skip:
                    yield Example(image_id=each.template_id, subject=each.subject)
                seen += 1
            number = page[-1].number

    async def _templates(self, subject: str) -> dict[str, Template]:
        try:
            held = (await self.store.templates_of(subject)).templates
        except SubjectNotFound:
            return {}
        return {
            each.template_id: Template(each.vector, each.fingerprint)
            for each in held
            if each.fingerprint == self.fingerprint
        }


def _not_found() -> TemplateNotFound:
    return TemplateNotFound("There is no example of this id that faces are compared with now.")
