"""One release of encoder reference, head and calibration, and its fingerprint."""

import difflib
import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from models.cohort import NO_COHORT, Cohort, CohortCard, read_cohort
from models.decision import (
    CONDITION_NAMES,
    ConditionRates,
    Evidence,
    FusionRates,
    GroupRates,
    Logistic,
    OperatingPoint,
    RateCurve,
    Template,
)
from models.encoder.dlib import DlibEncoder
from models.encoder.encoder import Encoder, check_numbers, digest, weights_of
from models.encoder.head import Head, check_fit
from models.encoder.onnx import OnnxEncoder
from models.encoder.pixels import PixelSpec
from models.errors import InvalidBundle
from models.photo import DetectorName
from models.photo.detectors import DetectorSource, find_detector
from models.photo.quality_head import LearnedQuality, QualityCard, QualityHead, read_quality
from models.weights import DLIB_LICENCE, SFACE, YUNET, check_hash, has_dlib, locate

if TYPE_CHECKING:
    from models.encoder.clip import ClipEncoder

BuiltinName = Literal["sface", "builtin", "dlib"]
BUILTIN_NAMES: tuple[BuiltinName, ...] = get_args(BuiltinName)
BUILTIN_FOLDER = Path(__file__).parent / "bundles"
# Repositories of the hub have an owner; the few of one word hold no CLIP.
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# The operating point by which the built-in bundles are ranked (see `choose`).
RANKED_AT = "fmr_1e-4"
# A reference to this network is to the file that is installed, not to one in the bundle.
SFACE_SOURCE = "SFace 2021dec"
# A photo counts for so much at least where several are fused, however poor it is.
_LEAST_WEIGHT = 0.05
# Of vectors that cancel each other out, nothing is left to compare.
_LEAST_COHERENCE = 1e-3
# Where a bundle keeps an ONNX network of its own.
ENCODER_FILE = "encoder.onnx"


class EncoderReference(BaseModel):
    """Say where the encoder's weights are, and under which licence.

    `clip`: a folder beside the manifest or a hub id; `onnx`: a file beside the manifest, its
    SHA-256 and the name of its input, or SFace as it is installed; `dlib`: dlib's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["clip", "dlib", "onnx"]
    source: str = ""
    revision: str | None = None
    sha256: str | None = None
    input: str | None = None
    licence: str | None = None


@dataclass(frozen=True, slots=True)
class Licence:
    """Name one network that a bundle uses and the licence of its weights."""

    part: Literal["detector", "encoder", "head"]
    network: str
    licence: str


class Calibration(BaseModel):
    """Say how well a bundle does, on what data, and where its thresholds lie."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    identities: int
    images: int
    genuine_pairs: int
    impostor_pairs: int
    failure_to_enrol: float = Field(ge=0, le=1)
    accuracy: float = Field(ge=0, le=1, description="best accuracy over the balanced pairs")
    eer: float = Field(ge=0, le=1)
    operating_points: tuple[OperatingPoint, ...]
    strangers_mean: float | None = Field(None, description="mean score of two strangers")
    probability: Logistic | None = None
    curve: RateCurve | None = None
    groups: tuple[GroupRates, ...] = ()
    conditions: tuple[ConditionRates, ...] = ()
    fusion: tuple[FusionRates, ...] = ()


class Manifest(BaseModel):
    """Hold `bundle.json`; `head` lists the head's widths, from features to vector.

    `detector` found the faces it was trained and measured on; bundles made before it was noted
    take what is installed. `licence` is that of the head. `fingerprint` is that of the bundle when
    it was made: so weights that were damaged since are noticed, and a gallery's bundle is known
    even where it is not installed. Older bundles lack it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    name: str
    encoder: EncoderReference
    head: tuple[int, ...] | None = None
    pixels: PixelSpec
    detector: DetectorName | None = None
    trained_on: str
    not_good_for: str
    licence: str | None = None
    fingerprint: str | None = None
    cohort: CohortCard | None = None
    quality: QualityCard | None = None
    calibration: Calibration | None = None
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class Bundle:
    """Hold what is needed to embed and decide; `chosen_because` says why it is this one.

    Cohort and quality head are no part of the fingerprint: vectors stay what they are.
    """

    manifest: Manifest
    encoder: Encoder
    head: Head | None
    detector: DetectorSource
    fingerprint: str
    chosen_because: str
    cohort: Cohort = NO_COHORT
    quality: QualityHead | None = None

    def template(
        self, vector: NDArray[np.float32], capture: LearnedQuality | None = None
    ) -> Template:
        """Return what is compared: a unit vector `(d,)` that this bundle made.

        `capture` is what its quality head says of the photo, if it was asked.
        """
        template = Template(
            vector, self.fingerprint, self.cohort.mean(vector), strangers=self._strangers
        )
        if capture is None:
            return template
        return replace(
            template,
            conditions=capture.conditions,
            quality=capture.quality,
            is_poor=capture.is_poor,
        )

    def assess(self, features: NDArray[np.float32]) -> LearnedQuality | None:
        """Judge a photo by its features `(w,)`; None without a quality head."""
        return None if self.quality is None else self.quality(features)

    def fuse(self, templates: Sequence[Template]) -> Template:
        """Return one template of those of several photos of one person.

        Photos by which a person is recognised better count for more, if all were judged. What is
        wrong with all of them is wrong with the result. Photos that cancel each other out are of
        nobody: the result is the first, with no coherence, and scores as a stranger does.
        """
        if len(templates) == 1:
            return templates[0]
        known = [each.quality for each in templates if each.quality is not None]
        # No photo counts for nothing: its vector is all there may be.
        weights = [max(each, _LEAST_WEIGHT) for each in known]
        if len(known) < len(templates):
            weights = [1.0] * len(templates)
        mean = np.average(np.stack([each.vector for each in templates]), axis=0, weights=weights)
        coherence = float(np.linalg.norm(mean))
        if coherence < _LEAST_COHERENCE:
            return replace(templates[0], coherence=0.0)
        fused = np.asarray(mean / coherence, np.float32)
        return Template(
            fused,
            self.fingerprint,
            self.cohort.mean(fused),
            coherence,
            frozenset.intersection(*(each.conditions for each in templates)),
            max(known, default=None),
            strangers=self._strangers,
        )

    @property
    def dimension(self) -> int:
        """Return the length of its vectors."""
        return self.encoder.width if self.head is None else self.head.dimension

    @property
    def operating_points(self) -> tuple[OperatingPoint, ...]:
        calibration = self.manifest.calibration
        return () if calibration is None else calibration.operating_points

    @property
    def _strangers(self) -> float | None:
        calibration = self.manifest.calibration
        return None if calibration is None else calibration.strangers_mean

    @property
    def evidence(self) -> Evidence:
        """Return what its error rates were measured on."""
        calibration = self.manifest.calibration
        names = {rates.condition for rates in self.conditions if rates.condition != "none"}
        return Evidence(
            None if calibration is None else calibration.data,
            tuple(name for name in CONDITION_NAMES if name in names),
            max((min(rates.probes, rates.templates) for rates in self.fusion), default=1),
        )

    @property
    def conditions(self) -> tuple[ConditionRates, ...]:
        """Return what was measured of it under conditions."""
        calibration = self.manifest.calibration
        return () if calibration is None else calibration.conditions

    @property
    def groups(self) -> tuple[GroupRates, ...]:
        """Return what was measured of it among people of one group."""
        calibration = self.manifest.calibration
        return () if calibration is None else calibration.groups

    @property
    def fusion(self) -> tuple[FusionRates, ...]:
        """Return what was measured of it with several photos."""
        calibration = self.manifest.calibration
        return () if calibration is None else calibration.fusion

    @property
    def licences(self) -> tuple[Licence, ...]:
        """Return the licence of every network it uses."""
        return licences_of(self.manifest, self.detector.name, self.detector.weights)

    @property
    def probability(self) -> Logistic | None:
        calibration = self.manifest.calibration
        return None if calibration is None else calibration.probability


def licences_of(
    manifest: Manifest, detector: DetectorName, file: Path | None = None
) -> tuple[Licence, ...]:
    """Return the licence of every network that a bundle uses with a detector in a file."""
    networks = []
    match detector:
        case "yunet":
            name = YUNET.name if file is None else f"{YUNET.name} ({file.name})"
            networks.append(Licence("detector", name, YUNET.licence))
        case "dlib":
            networks.append(Licence("detector", "dlib's five-point landmarks", DLIB_LICENCE))
        case "none":
            pass
    unknown = "not stated: ask whoever made it"
    reference = manifest.encoder
    inside = reference.source in ("", "encoder", ENCODER_FILE)
    name = manifest.name if inside else reference.source
    networks.append(Licence("encoder", name, reference.licence or unknown))
    if manifest.head is not None:
        networks.append(Licence("head", manifest.name, manifest.licence or unknown))
    return tuple(networks)


def choose_bundle(source: str | None, folder: Path = BUILTIN_FOLDER) -> tuple[str, str]:
    """Return the bundle to load and why; `folder` holds the built-in ones.

    Unless one is named, it is the installed one that refuses the fewest genuine comparisons at
    FMR 1e-4 on View 1 of LFW. The accuracy would not do: it is taken where FMR and FNMR are
    alike, and at an operating point that decides here two encoders a hundredth apart in
    accuracy may differ fivefold in FNMR.
    """
    if source is not None:
        return source, "named in the settings"
    rates = {name: _fnmr(read_manifest(folder / name)) for name in installed_bundles()}
    best = min(rates, key=lambda name: rates[name])
    others = ", ".join(f"`{name}` {rates[name]:.1%}" for name in rates if name != best)
    return best, (
        f"it refuses {rates[best]:.1%} of genuine comparisons at FMR 1e-4 on LFW View 1, "
        f"the fewest of those installed ({others})"
    )


def installed_bundles() -> tuple[BuiltinName, ...]:
    """Return the built-in bundles whose weights come with what is installed."""
    return tuple(name for name in BUILTIN_NAMES if name != "dlib" or has_dlib())


def _fnmr(manifest: Manifest) -> float:
    points = () if manifest.calibration is None else manifest.calibration.operating_points
    return next((point.fnmr.value for point in points if point.name == RANKED_AT), 1.0)


def load_bundle(
    source: str | None = None,
    *,
    weights: Path | None = None,
    detector: DetectorName | None = None,
    yunet_path: Path | None = None,
    because: str | None = None,
) -> Bundle:
    """Load a built-in bundle by name, a bundle directory, or a bare CLIP encoder.

    A directory without `bundle.json`, or a hub id, is served without a head: the vector is
    the pooled feature scaled to unit length, and there are no operating points. `weights` is a
    folder that holds the networks that are else installed; `detector` and `yunet_path` take the
    place of the bundle's own detector; `because` says why it was chosen. Raises InvalidBundle.
    """
    name, reason = choose_bundle(source)
    reason = because or reason
    folder = folder_of(name)
    if (folder / "bundle.json").is_file():
        manifest = read_manifest(folder)
        encoder = _load_encoder(manifest.encoder, folder, weights)
        head = _load_head(folder / "head.safetensors", manifest.head)
    else:
        check_source(name)
        encoder, head = _load_clip(name), None
        manifest = _bare_manifest(name, encoder.image_size)
    if head is not None:
        check_fit(head, encoder.width)
    if manifest.pixels.size != encoder.image_size:
        raise InvalidBundle(
            f"The bundle cuts crops of {manifest.pixels.size} pixels, but its encoder was "
            f"built for {encoder.image_size}."
        )
    found = find_detector(
        detector or manifest.detector or ("dlib" if has_dlib() else "yunet"),
        manifest.pixels.template,
        weights,
        yunet_path,
    )
    identity = fingerprint(encoder, head, manifest.pixels)
    if weights is None or manifest.encoder.source != SFACE_SOURCE:
        _check_identity(folder, manifest, identity)
    if manifest.detector is not None and found.name != manifest.detector:
        reason += (
            f"; its error rates were measured with the detector `{manifest.detector}` and do not "
            f"hold with `{found.name}`"
        )
    dimension = encoder.width if head is None else head.dimension
    cohort = NO_COHORT
    if manifest.cohort is not None:
        cohort = read_cohort(folder, manifest.cohort, dimension)
    quality = None
    if manifest.quality is not None:
        quality = read_quality(folder, manifest.quality, encoder.width)
    return Bundle(manifest, encoder, head, found, identity, reason, cohort, quality)


def fingerprint(encoder: Encoder, head: Head | None, pixels: PixelSpec) -> str:
    """Return 64 hexadecimal digits that change whenever vectors stop being comparable."""
    preprocessing = json.dumps(pixels.as_dict(), sort_keys=True).encode()
    parts = [
        *(encoder.digest(), encoder.architecture.encode()),
        *(b"" if head is None else digest(head), preprocessing),
    ]
    return hashlib.sha256(b"|".join(hashlib.sha256(p).digest() for p in parts)).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read and check `bundle.json`; raises InvalidBundle with the field that is wrong."""
    try:
        written = (folder / "bundle.json").read_bytes()
        # A threshold or rate that is no number would decide nothing, and say so of nobody.
        return Manifest.model_validate(from_json(written, allow_inf_nan=False))
    except OSError as exc:
        raise InvalidBundle(f"{folder / 'bundle.json'} cannot be used: {exc.strerror}.") from exc
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidBundle(
            f"{folder / 'bundle.json'} cannot be used: {where or 'it'}: {first['msg']}."
        ) from exc
    except ValueError as exc:
        raise InvalidBundle(f"{folder / 'bundle.json'} cannot be used: {exc}") from exc


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `bundle.json` for people and programs to read."""
    text = manifest.model_dump_json(indent=2, exclude_none=True)
    (folder / "bundle.json").write_text(text + "\n")


def save_weights(folder: Path, encoder: "ClipEncoder", head: Head | None) -> None:
    """Write `encoder/` and `head.safetensors` beside the manifest, at their present precision."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder.save(folder / "encoder")
    if head is not None:
        save_head(folder, head)


def save_head(folder: Path, head: Head) -> None:
    """Write `head.safetensors` beside the manifest, at its present precision."""
    tensors = {name: value.contiguous() for name, value in head.layers.state_dict().items()}
    save_file(tensors, folder / "head.safetensors")


def write_onnx_bundle(
    folder: Path,
    network: Path,
    encoder: OnnxEncoder,
    pixels: PixelSpec,
    licence: str | None,
    trained_on: str,
) -> None:
    """Write a bundle of a network in an ONNX file, without head and operating points."""
    folder.mkdir(parents=True, exist_ok=True)
    data = network.read_bytes()
    (folder / ENCODER_FILE).write_bytes(data)
    reference = EncoderReference(
        kind="onnx",
        source=ENCODER_FILE,
        sha256=hashlib.sha256(data).hexdigest(),
        input=encoder.input,
        licence=licence,
    )
    manifest = Manifest(
        name=folder.resolve().name,
        encoder=reference,
        pixels=pixels,
        detector="yunet",
        trained_on=trained_on,
        not_good_for="faces unlike those that it was measured on, if it was: without operating "
        "points it decides nothing",
        fingerprint=fingerprint(encoder, None, pixels),
    )
    write_manifest(folder, manifest)


def copy_encoder(bundle: Bundle, source: str, out: Path) -> EncoderReference:
    """Make a new bundle at `out` find the encoder of the bundle that `source` names.

    An encoder on this machine is copied; one on the hub is referred to, at the revision that
    was loaded.
    """
    from models.encoder.clip import ClipEncoder

    reference = bundle.manifest.encoder
    if isinstance(bundle.encoder, OnnxEncoder) and reference.source != SFACE_SOURCE:
        shutil.copyfile(folder_of(source) / reference.source, out / reference.source)
    if not isinstance(bundle.encoder, ClipEncoder):
        return reference
    inside = folder_of(source) / reference.source
    if not inside.is_dir() and not Path(reference.source).is_dir():
        revision = reference.revision or bundle.encoder.revision
        return reference.model_copy(update={"revision": revision})
    bundle.encoder.save(out / "encoder")
    return EncoderReference(kind="clip", source="encoder")


def folder_of(source: str) -> Path:
    """Return where the bundle of this name or directory would be."""
    return BUILTIN_FOLDER / source if source in BUILTIN_NAMES else Path(source)


def _check_identity(folder: Path, manifest: Manifest, identity: str) -> None:
    """Raise InvalidBundle if a bundle's weights are not those that its manifest was written for."""
    if manifest.fingerprint not in (None, identity):
        raise InvalidBundle(
            f"The bundle in {folder} has the fingerprint {identity[:12]}, and its bundle.json says "
            f"{manifest.fingerprint[:12]}: a file with weights is damaged or another one, and its "
            "templates and thresholds do not hold. Copy the bundle again, or install the release "
            "that it came with again."
        )


def check_source(source: str) -> None:
    """Raise InvalidBundle at once for what names no bundle: neither one that is here nor a hub id.

    A hub is asked only for ids of the form owner/name, and not where the owner is a folder here.
    """
    path = folder_of(source)
    if (path / "bundle.json").is_file() or (path.is_dir() and (path / "config.json").is_file()):
        return
    if source and path.is_dir():
        raise InvalidBundle(
            f"The folder {source} holds neither bundle.json nor a CLIP's config.json."
        )
    if path.is_file():
        raise InvalidBundle(
            f"{source} is a file; `likeness bundle new` makes a bundle of an ONNX network."
        )
    if not _HUB_ID.fullmatch(source) or path.parent.is_dir():
        near = difflib.get_close_matches(source.lower(), BUILTIN_NAMES, n=1)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        names = ", ".join(f"`{name}`" for name in installed_bundles())
        raise InvalidBundle(
            f"There is no bundle `{source}`: name an installed one ({names}), an existing folder, "
            f"or a hub id such as openai/clip-vit-base-patch32.{hint}"
        )


def _load_encoder(reference: EncoderReference, folder: Path, weights: Path | None) -> Encoder:
    match reference.kind:
        case "dlib":
            return DlibEncoder.load()
        case "onnx":
            return _load_onnx(reference, folder, weights)
        case "clip":
            return _load_clip_of(reference, folder)


def _load_onnx(reference: EncoderReference, folder: Path, weights: Path | None) -> OnnxEncoder:
    if reference.source == SFACE_SOURCE:
        return OnnxEncoder.load(locate(SFACE, weights))
    path = folder / reference.source
    if not path.is_file():
        raise InvalidBundle(f"{path} is missing: the bundle keeps its encoder there.")
    if reference.sha256 is not None:
        check_hash(path, [reference.sha256], "copy the bundle again, or make it anew")
    encoder = OnnxEncoder.load(path)
    if reference.input is not None and encoder.input != reference.input:
        raise InvalidBundle(
            f"{path} takes an input named `{encoder.input}`; bundle.json says `{reference.input}`."
        )
    return encoder


def _load_clip_of(reference: EncoderReference, folder: Path) -> "ClipEncoder":
    local = folder / reference.source
    if local.is_dir():
        return _load_clip(local)
    if "/" not in reference.source:
        # The hub has repositories of one word too, and they would be somebody else's encoder.
        raise InvalidBundle(f"{local} is missing: the bundle keeps its encoder there.")
    return _load_clip(reference.source, reference.revision)


def _load_clip(source: str | Path, revision: str | None = None) -> "ClipEncoder":
    from models.encoder.clip import ClipEncoder

    return ClipEncoder.load(source, revision)


def _load_head(path: Path, widths: tuple[int, ...] | None) -> Head | None:
    if not path.exists():
        if widths is not None:
            raise InvalidBundle(f"{path} is missing: the bundle was calibrated with its head.")
        return None
    try:
        head = Head.from_tensors(load_file(path))
    except (OSError, SafetensorError) as exc:
        raise InvalidBundle(f"{path} cannot be read: {exc}") from exc
    check_numbers(weights_of(head), path)
    if widths is not None and widths != head.widths:
        raise InvalidBundle(f"{path} has widths {head.widths}; bundle.json says {widths}.")
    return head


def _bare_manifest(name: str, image_size: int) -> Manifest:
    return Manifest(
        name=name,
        encoder=EncoderReference(kind="clip", source=name),
        pixels=PixelSpec(size=image_size, margin=0.5),
        detector="yunet",
        trained_on="images and texts of CLIP's own makers; no head, nothing trained on faces",
        not_good_for="deciding: it has no operating points until it is calibrated on faces",
    )
