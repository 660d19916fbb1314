"""Run whole trainings on invented people, with real detection and a tiny random encoder."""

import csv
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from models.bundle import Bundle, load_bundle, read_manifest
from models.datasets.features import embed
from models.datasets.labelled import read_folder, read_people, select
from models.encoder.clip import ClipEncoder
from models.errors import LikenessError
from models.train import SMOKE_EPOCHS, smoke_plan, train
from models.training.options import Lora, Options, Shares
from models.training.plan import Epoch, Plan, TrainingResult
from tests.checkpoints import write_bundle, write_full
from tests.people import PEOPLE, PHOTOS, write_people

OPTIONS = Options(hidden=32, dimension=16, epochs=4, batch=16)
SHARES = Shares(held_out=0.25)


@dataclass
class Listening:
    """Record everything that a run reports."""

    notes: list[str] = field(default_factory=list)
    epochs: list[tuple[str, Epoch]] = field(default_factory=list)
    progressed: list[tuple[str, int, int]] = field(default_factory=list)

    def note(self, line: str) -> None:
        self.notes.append(line)

    def progress(self, what: str, done: int, of: int) -> None:
        self.progressed.append((what, done, of))

    def epoch(self, stage: Literal["encoder", "head"], epoch: Epoch, fmr: float) -> None:
        self.epochs.append((stage, epoch))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_people(tmp_path_factory.mktemp("data") / "people")
    (folder / "p00" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def base(photos: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Return a plan with a tiny bundle; the runs of other tests share its features."""
    folder = tmp_path_factory.mktemp("base")
    encoder = write_bundle(folder / "encoder")
    return Plan(
        photos=read_people(photos),
        out=folder / "trained",
        cache=cache,
        encoder=str(encoder),
        options=OPTIONS,
        shares=SHARES,
        fresh_head=True,
    )


@pytest.fixture(scope="module")
def heard() -> Listening:
    return Listening()


@pytest.fixture(scope="module")
def trained(base: Plan, heard: Listening) -> TrainingResult:
    return train(base, heard)


@pytest.fixture(scope="module")
def bundle(base: Plan, trained: TrainingResult) -> Bundle:
    return load_bundle(str(base.out))


def test_the_bundle_has_a_head_of_the_widths_asked_for(bundle: Bundle) -> None:
    assert bundle.head is not None
    assert bundle.head.widths == (32, 32, 16)


def test_training_begins_with_the_bundles_own_head(base: Plan, tmp_path: Path) -> None:
    still = replace(base, out=tmp_path / "out", fresh_head=False, options=replace(OPTIONS, rate=0))
    train(still, Listening())
    own, kept = (load_bundle(name).head for name in (base.encoder, str(still.out)))
    assert own is not None
    assert kept is not None
    for name, weight in own.state_dict().items():
        torch.testing.assert_close(kept.state_dict()[name], weight, atol=1e-5, rtol=1e-4)


def test_the_bundle_holds_its_encoder(base: Plan, bundle: Bundle, tmp_path: Path) -> None:
    moved = base.out.rename(tmp_path / "moved")
    try:
        assert load_bundle(str(moved)).fingerprint == bundle.fingerprint
    finally:
        moved.rename(base.out)


def test_the_bundle_serves_the_vectors_it_was_judged_by(
    base: Plan, trained: TrainingResult, bundle: Bundle
) -> None:
    held_back = select(base.photos, trained.split.test)
    vectors = embed(held_back, bundle).vectors
    again = trained.reports[0]
    scores = np.sort((vectors @ vectors.T)[np.triu_indices(len(vectors), 1)])
    worst = [error.similarity for error in again.worst]
    assert min(abs(scores - worst[0])) < 1e-4


def test_no_evaluation_person_was_trained_on(base: Plan, trained: TrainingResult) -> None:
    people, split = base.photos.people, trained.split
    taught = set(people[split.train].tolist())
    assert not taught & set(people[split.test].tolist())
    assert not taught & set(people[split.validation].tolist())


def test_unusable_photos_are_listed_with_their_reason(base: Plan, trained: TrainingResult) -> None:
    with (base.run / "rejected.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"path": "p00/broken.jpg", "reason": "undecodable_image"}]


def test_one_line_tells_the_user_about_unusable_photos(
    heard: Listening, trained: TrainingResult
) -> None:
    assert any("1 undecodable_image" in note for note in heard.notes)


def test_every_epoch_is_reported_and_kept(
    base: Plan, trained: TrainingResult, heard: Listening
) -> None:
    with (base.out / "curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["number"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert [epoch for _, epoch in heard.epochs] == list(trained.history)


def test_the_curves_are_drawn(base: Plan, trained: TrainingResult) -> None:
    assert (base.out / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_card_says_how_many_photos_trained(base: Plan, trained: TrainingResult) -> None:
    card = (base.out / "README.md").read_text()
    assert f"| train | {len(trained.split.train)} |" in card


def test_the_card_names_no_person(base: Plan, trained: TrainingResult) -> None:
    card = (base.out / "README.md").read_text()
    assert not any(name in card for name in base.photos.person_names)


def test_the_manifest_keeps_what_was_measured(base: Plan, trained: TrainingResult) -> None:
    assert read_manifest(base.out).calibration == trained.reports[0].calibration


def test_a_report_of_the_people_held_back_is_written(base: Plan, trained: TrainingResult) -> None:
    assert (base.run / "held-back.html").read_text().startswith("<!doctype html>")


def test_the_same_run_again_embeds_nothing_and_ends_at_the_same_bundle(
    base: Plan, trained: TrainingResult, bundle: Bundle
) -> None:
    heard = Listening()
    train(base, heard)
    (first, *_) = heard.progressed
    assert first[1] == first[2]
    assert load_bundle(str(base.out)).fingerprint == bundle.fingerprint


def test_another_loss_on_the_same_photos_embeds_nothing(
    base: Plan, trained: TrainingResult, tmp_path: Path
) -> None:
    heard = Listening()
    options = replace(OPTIONS, loss="cosface")
    train(replace(base, out=tmp_path / "other", options=options), heard)
    (first, *_) = heard.progressed
    assert first[1] == first[2]


def test_a_person_who_is_in_an_evaluation_set_is_not_trained_on(base: Plan, tmp_path: Path) -> None:
    """The evaluation set has one photo of a person, under another name."""
    taught = train(replace(base, out=tmp_path / "before"), Listening()).split.train
    leaked = base.photos.images[int(taught[0])]
    others = write_people(tmp_path / "others", people=4, seed=9)
    (others / "somebody").mkdir()
    (others / "somebody" / "x.jpg").write_bytes((base.photos.folder / leaked).read_bytes())
    heard = Listening()
    plan = replace(base, out=tmp_path / "after", evaluation=(read_folder(others),))
    trained = train(plan, heard)
    assert base.photos.people[taught[0]] not in base.photos.people[trained.split.train]
    assert any("in an evaluation set" in note for note in heard.notes)


def test_an_evaluation_set_sets_the_operating_points(base: Plan, tmp_path: Path) -> None:
    others = write_people(tmp_path / "others", people=4, seed=9)
    plan = replace(base, out=tmp_path / "out", evaluation=(read_folder(others),))
    trained = train(plan, Listening())
    assert len(trained.reports) == 2
    assert read_manifest(plan.out).calibration == trained.reports[1].calibration


def test_a_clip_checkpoint_in_the_hubs_layout_trains_like_any_other(
    base: Plan, tmp_path: Path
) -> None:
    encoder = write_full(tmp_path / "clip-vit-tiny")
    plan = replace(base, out=tmp_path / "out", encoder=str(encoder))
    train(plan, Listening())
    trained = load_bundle(str(plan.out))
    assert trained.head is not None
    assert trained.manifest.pixels.mirror


@pytest.fixture(scope="module")
def adapted(
    base: Plan, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Plan, list[tuple[str, Epoch]]]:
    """Return a run with LoRA on people who are hard to tell apart."""
    folder = tmp_path_factory.mktemp("lora")
    photos = read_people(write_people(folder / "people", people=16, spread=0.15))
    lora = Lora(rank=4, epochs=3, batch=16, rate=5e-3)
    plan = replace(base, photos=photos, out=folder / "out", lora=lora)
    heard = Listening()
    train(plan, heard)
    return plan, heard.epochs


def test_lora_changes_the_attention_of_the_encoder_and_the_bundle_holds_it(
    adapted: tuple[Plan, list[tuple[str, Epoch]]],
) -> None:
    plan, _ = adapted
    frozen, held = (load_bundle(name).encoder for name in (plan.encoder, str(plan.out)))
    assert isinstance(frozen, ClipEncoder)
    assert isinstance(held, ClipEncoder)
    before, after = (dict(encoder.network.named_parameters()) for encoder in (frozen, held))
    changed = {name for name, weight in before.items() if not torch.equal(weight, after[name])}
    assert changed
    assert all("self_attn" in name for name in changed)


def test_the_head_goes_on_from_the_one_that_lora_trained(
    adapted: tuple[Plan, list[tuple[str, Epoch]]],
) -> None:
    _, epochs = adapted
    best = max(epoch.tar for stage, epoch in epochs if stage == "encoder")
    first = next(epoch.tar for stage, epoch in epochs if stage == "head")
    assert first == pytest.approx(best, abs=0.06)  # judged in bfloat16 there, in float32 here


@pytest.mark.parametrize("encoder", ["sface", pytest.param("dlib", marks=pytest.mark.dlib)])
def test_lora_needs_a_transformer(base: Plan, tmp_path: Path, encoder: str) -> None:
    plan = replace(base, out=tmp_path / "out", encoder=encoder, lora=Lora(rank=2))
    with pytest.raises(LikenessError, match="attention"):
        train(smoke_plan(plan), Listening())


def test_the_bundle_an_encoder_comes_from_is_not_overwritten(base: Plan) -> None:
    with pytest.raises(LikenessError, match="overwrite"):
        train(replace(base, out=Path(base.encoder)), Listening())


def test_too_few_people_are_refused_in_a_sentence(base: Plan, tmp_path: Path) -> None:
    few = select(base.photos, np.flatnonzero(base.photos.people < 4))
    with pytest.raises(LikenessError, match="are needed"):
        train(replace(base, photos=few, out=tmp_path / "out"), Listening())


def test_a_smoke_run_uses_a_few_photos_of_each_person(base: Plan) -> None:
    few = smoke_plan(base).photos
    assert len(few.images) == PEOPLE * PHOTOS + 1  # and the broken one: no more were asked for


def test_the_module_is_a_program_that_trains(photos: Path, base: Plan, tmp_path: Path) -> None:
    out = tmp_path / "out"
    program = [sys.executable, "-m", "models.train", str(photos), "--out", str(out), "--smoke"]
    knobs = ["--encoder", base.encoder, "--cache", str(base.cache), "--loss", "arcface"]
    result = subprocess.run([*program, *knobs], capture_output=True, text=True, check=True)
    epochs = [line for line in result.stdout.splitlines() if line.startswith("head epoch")]
    assert len(epochs) == SMOKE_EPOCHS + 1
    assert "loss arcface" in result.stdout
    assert load_bundle(str(out)).manifest.calibration is not None
