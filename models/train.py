"""Train a head on labelled photos, offline, and write a bundle.

    python -m models.train PHOTOS --out BUNDLE
    python -m models.train PHOTOS --out BUNDLE --evaluate-on view1 --lora 8

    photos -> features of the frozen encoder (cached) -> people split in three parts -> head
           -> rates on people that were not trained on -> bundle, model card, curves

With `--lora` the encoder is first adapted to the same people. The knobs are in
`models/training/options.py`. `likeness train` does the same and also prints the error rates.
"""

import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
import typer

from models.bundle import (
    Bundle,
    Manifest,
    copy_encoder,
    folder_of,
    load_bundle,
    save_head,
    write_manifest,
)
from models.cohort import NO_COHORT, write_cohort
from models.datasets.features import Extractor, FeatureCache, FeatureSet, apply_head, cache_key
from models.datasets.labelled import LabelledSet, read_people, read_protocol, select
from models.datasets.tables import write_table
from models.embedder import Embedder
from models.encoder.device import choose_device, choose_precision
from models.encoder.head import Head
from models.errors import LikenessError
from models.evaluation.page import render
from models.evaluation.report import Report, make_report
from models.training.card import curves_csv, draw_curves, model_card
from models.training.head import Features, HeadLearner
from models.training.loop import Identities, Training
from models.training.lora import adapt_encoder
from models.training.options import Inputs, Lora, Options, with_knobs
from models.training.plan import (
    Epoch,
    Leak,
    Listener,
    Plan,
    Split,
    TrainingResult,
    find_leaks,
    split_people,
)

SMOKE_PEOPLE, SMOKE_PHOTOS, SMOKE_EPOCHS = 16, 8, 5
NOT_GOOD_FOR = (
    "Faces that differ from those it was trained and measured on; measure it on your photos with "
    "`likeness evaluate`. It does not detect photos of photos, masks or screens. Its error rates "
    "differ between groups of people."
)


@dataclass(frozen=True, slots=True)
class FeatureSets:
    """Hold the features of the training photos and of every evaluation set."""

    photos: FeatureSet
    evaluation: tuple[FeatureSet, ...]


def read_plan(inputs: Inputs, options: Options, lora: Lora, cache: Path) -> Plan:
    """Read the photos and choose the device. Raises LikenessError.

    `cache` is the folder for features if `inputs` names none.
    """
    device = choose_device(inputs.device)
    return Plan(
        photos=read_people(inputs.photos, inputs.outside),
        out=inputs.out,
        cache=inputs.cache or cache,
        encoder=inputs.encoder,
        evaluation=tuple(
            read_protocol(folder, outside=inputs.outside) for folder in inputs.evaluate_on or ()
        ),
        options=options,
        fresh_head=inputs.fresh_head,
        lora=lora,
        device=device,
        precision=choose_precision(device),
        commit=commit(),
    )


def commit() -> str | None:
    """Return the commit of the running code, None outside a checkout."""
    git = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return git.stdout.strip() or None


def train(plan: Plan, listener: Listener) -> TrainingResult:
    """Train, evaluate, and write the bundle, its model card and its curves.

    A run that was killed continues from its checkpoint. Raises LikenessError if the photos or the
    folders do not fit.
    """
    if plan.out.resolve() == folder_of(plan.encoder).resolve():
        raise LikenessError(
            "The new bundle would overwrite the bundle that its encoder comes from."
        )
    plan.run.mkdir(parents=True, exist_ok=True)

    # The encoder that gives the features, and the head to start with.
    source, bundle = plan.encoder, load_bundle(plan.encoder, weights=plan.weights)
    start = None if plan.fresh_head else bundle.head
    if start is not None:
        plan = replace(plan, options=replace(plan.options, dimension=start.dimension))

    # The features of all photos, and the people that train, validate and test.
    features = extract_features(plan, bundle, listener)
    leaks = [leak for other in features.evaluation for leak in find_leaks(features.photos, other)]
    _list_unused(plan, features, leaks, listener)
    split = _split(plan, features.photos, leaks)

    # The encoder, adapted to these people.
    if plan.lora.rank:
        source, start = adapt_encoder(plan, start, split, listener)
        features = extract_features(plan, load_bundle(source, weights=plan.weights), listener)

    # The head, epoch by epoch.
    training, learner = _head_training(plan, start, features.photos, split)
    for epoch in training.epochs():
        listener.epoch("head", epoch, training.fmr)
    head = learner.head()

    # The bundle, its error rates, its card and its curves.
    bundle = _write(plan, source, head)
    reports = _reports(plan, bundle, head, features, split)
    result = TrainingResult(
        split,
        tuple(training.history),
        training.fmr,
        reports,
        features.photos.rejected,
        tuple(leaks),
    )
    # An evaluation set that the user named is closer to the use of the bundle.
    calibration = reports[min(1, len(plan.evaluation))].calibration
    manifest = bundle.manifest.model_copy(update={"calibration": calibration})
    write_manifest(plan.out, manifest)
    (plan.out / "README.md").write_text(model_card(plan, manifest, result))
    (plan.out / "curves.csv").write_text(curves_csv(training.history))
    draw_curves(training.history, training.fmr, plan.out / "curves.png")
    for name, report in zip(_report_names(plan), reports, strict=True):
        (plan.run / f"{name}.html").write_text(render(report))
    return result


def extract_features(plan: Plan, bundle: Bundle, listener: Listener) -> FeatureSets:
    """Return the features of all photos of the plan; known photos come from the cache."""
    cache = FeatureCache(plan.cache, cache_key(bundle, plan.precision))
    embedder = Embedder(without_head(bundle), plan.device, plan.precision)
    extractor = Extractor(embedder, cache, note=listener.note)

    def extract(labelled: LabelledSet) -> FeatureSet:
        def progress(done: int, of: int) -> None:
            listener.progress(f"embedding {labelled.folder.name}", done, of)

        return extractor(labelled.images, labelled.folder, progress)

    return FeatureSets(extract(plan.photos), tuple(extract(other) for other in plan.evaluation))


def without_head(bundle: Bundle) -> Bundle:
    """Return a bundle of the encoder alone, which also uses the mirror image of a face."""
    pixels = replace(bundle.manifest.pixels, mirror=True)
    manifest = bundle.manifest.model_copy(
        update={
            "pixels": pixels,
            "head": None,
            "cohort": None,
            "quality": None,
            "calibration": None,
        }
    )
    return replace(bundle, manifest=manifest, head=None, cohort=NO_COHORT, quality=None)


def _split(plan: Plan, photos: FeatureSet, leaks: Sequence[Leak]) -> Split:
    """Leave out people with a photo in an evaluation set, and split the others."""
    people = plan.photos.people
    leaked = np.unique(people[[leak.place for leak in leaks]])
    usable = photos.usable & ~np.isin(people, leaked)
    return split_people(people, usable, plan.photos.person_names, plan.shares, plan.options.seed)


def _head_training(
    plan: Plan, start: Head | None, photos: FeatureSet, split: Split
) -> tuple[Training, HeadLearner]:
    parts = Features(
        *(photos.features[at] for at in (split.train, split.held_out, split.validation))
    )
    learner = HeadLearner(parts, plan.options, start)
    about = sha256(parts.train.tobytes()).hexdigest()
    training = Training(
        learner,
        Identities.of(plan.photos.people, split),
        plan.options,
        plan.run / "head.pt",
        about,
        keep_start=start is not None,
    )
    return training, learner


def _write(plan: Plan, source: str, head: Head) -> Bundle:
    """Write encoder, head and manifest, and load the bundle as the service does."""
    bundle = load_bundle(source, weights=plan.weights)
    people = len(np.unique(plan.photos.people))
    manifest = Manifest(
        name=plan.out.resolve().name,
        encoder=(
            bundle.manifest.encoder if plan.lora.rank else copy_encoder(bundle, source, plan.out)
        ),
        head=head.widths,
        pixels=replace(bundle.manifest.pixels, mirror=True),
        detector=bundle.detector.name,
        trained_on=f"Encoder: {bundle.manifest.trained_on.rstrip('.')}. Head: "
        f"{plan.photos.folder.name}, {len(plan.photos.images):,} photos of {people:,} people.",
        not_good_for=NOT_GOOD_FOR,
        commit=plan.commit,
    )
    save_head(plan.out, head)
    write_manifest(plan.out, manifest)
    new_bundle = load_bundle(str(plan.out), weights=plan.weights)
    manifest = new_bundle.manifest.model_copy(update={"fingerprint": new_bundle.fingerprint})
    write_manifest(plan.out, manifest)
    new_bundle = replace(new_bundle, manifest=manifest)
    if new_bundle.fingerprint == bundle.fingerprint and bundle.manifest.cohort is not None:
        # The first head was the best, so the vectors are the same and the cohort stays valid.
        card = write_cohort(plan.out, bundle.cohort, bundle.manifest.cohort.photos)
        manifest = new_bundle.manifest.model_copy(update={"cohort": card})
        write_manifest(plan.out, manifest)
        new_bundle = replace(new_bundle, manifest=manifest, cohort=bundle.cohort)
    return new_bundle


def _reports(
    plan: Plan, bundle: Bundle, head: Head, features: FeatureSets, split: Split
) -> tuple[Report, ...]:
    held_back = select(plan.photos, split.test)
    people = len(np.unique(held_back.people))
    sets: list[tuple[LabelledSet, FeatureSet, str]] = [
        (
            held_back,
            features.photos.at(split.test, plan.photos.images),
            f"{len(held_back.images):,} photos of {people:,} people of "
            f"{plan.photos.folder.name} that were held back from training",
        )
    ]
    for labelled, extracted in zip(plan.evaluation, features.evaluation, strict=True):
        sets.append((labelled, extracted, f"photos of {labelled.folder.name}"))
    return tuple(
        make_report(labelled, apply_head(labelled, extracted, head), bundle, data)
        for labelled, extracted, data in sets
    )


def _report_names(plan: Plan) -> Iterable[str]:
    yield "held-back"
    for at, labelled in enumerate(plan.evaluation, 1):
        yield f"evaluation-{at}-{labelled.folder.name}"


def _list_unused(
    plan: Plan, features: FeatureSets, leaks: Sequence[Leak], listener: Listener
) -> None:
    """List the unusable photos, and those that are also in an evaluation set, in CSV files."""
    images, rejected = plan.photos.images, features.photos.rejected
    named = [(row.path, row.sentence) for row in plan.photos.unusable]
    write_table(plan.run / "rejected.csv", ("path", "reason"), sorted([*rejected.items(), *named]))
    if rejected:
        counted = Counter(rejected.values()).most_common()
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in counted)
        listener.note(f"unusable photos: {reasons}; see {plan.run / 'rejected.csv'}")
    write_table(
        plan.run / "leaks.csv",
        ("path", "how", "similarity"),
        [(images[leak.place], leak.how, f"{leak.similarity:.4f}") for leak in leaks],
    )
    if leaks:
        left_out = len({plan.photos.people[leak.place] for leak in leaks})
        listener.note(
            f"{left_out} people are left out, because {len(leaks)} of their photos are in an "
            f"evaluation set; see {plan.run / 'leaks.csv'}"
        )


def smoke_plan(plan: Plan) -> Plan:
    """Return the same plan with few people, photos and epochs, for a quick test."""
    return replace(
        plan,
        photos=_few(plan.photos),
        evaluation=tuple(_few(labelled) for labelled in plan.evaluation),
        options=replace(plan.options, epochs=SMOKE_EPOCHS, batch=32),
        lora=replace(plan.lora, epochs=1),
    )


def _few(labelled: LabelledSet) -> LabelledSet:
    """Return some photos of the people with the most photos."""
    people = labelled.people
    most = np.argsort(-np.bincount(people), kind="stable")[:SMOKE_PEOPLE]
    places = [np.flatnonzero(people == person)[:SMOKE_PHOTOS] for person in most]
    return select(labelled, np.concatenate(places))


class PrintedLines:
    """Print the notes and the epochs of a run."""

    def note(self, line: str) -> None:
        print(line, flush=True)

    def progress(self, what: str, done: int, of: int) -> None: ...

    def epoch(self, stage: Literal["encoder", "head"], epoch: Epoch, fmr: float) -> None:
        print(epoch.line(stage, fmr), flush=True)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
@with_knobs
def main(inputs: Inputs, options: Options, lora: Lora) -> None:
    """Train a head on a frozen encoder, measure it on other people, and write a bundle."""
    plan = read_plan(inputs, options, lora, Path.home() / ".cache" / "likeness" / "features")
    train(smoke_plan(plan) if inputs.smoke else plan, PrintedLines())
    print((plan.out / "README.md").read_text())


if __name__ == "__main__":
    app()
