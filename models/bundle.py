"""Load a bundle: one release of encoder, head, cohort, thresholds and their error rates.

A bundle is a folder with `bundle.json` (the `Manifest`) and the files that it names. Its
fingerprint changes whenever its vectors change, and vectors are only compared if they have the
same fingerprint.
"""

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
# An id of the hub is owner/name; the few repositories without an owner contain no CLIP.
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# `choose_bundle` ranks the built-in bundles by their FNMR at this operating point.
_RANKED_AT = "fmr_1e-4"
# This source stands for the installed file of SFace, not for a file in the bundle.
_SFACE_SOURCE = "SFace 2021dec"
# The lowest weight of a photo where several are fused, however poor it is.
_LEAST_WEIGHT = 0.05
# Below this coherence the vectors cancel each other out, and their mean has no direction.
_LEAST_COHERENCE = 1e-3
# The name of the ONNX network in a bundle that has its own.
_ENCODER_FILE = "encoder.onnx"


class EncoderReference(BaseModel):
    """Say where the encoder's weights are, and under which licence.

    For the kind `clip`, `source` is a folder beside the manifest or a hub id, with its `revision`.
    For `onnx` it is a file beside the manifest, with its `sha256` and the name of its `input`, or
    `SFace 2021dec` for the installed file. For `dlib` it is empty: the weights are in an installed
    package.
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
    """Hold the thresholds of a bundle, its error rates, and the data they were measured on."""

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
    strangers_mean: float | None = Field(None, description="mean score of two different people")
    probability: Logistic | None = None
    curve: RateCurve | None = None
    groups: tuple[GroupRates, ...] = ()
    conditions: tuple[ConditionRates, ...] = ()
    fusion: tuple[FusionRates, ...] = ()


class Manifest(BaseModel):
    """Hold the content of `bundle.json`.

    `head` lists the widths of the head's layers, from features to vector. `detector` found the
    faces that the bundle was trained and measured on; older bundles do not say, and use an
    installed one. `licence` is that of the head. `fingerprint` was computed when the bundle was
    made: it shows whether weights were damaged later, and which bundle a gallery needs. Older
    bundles lack it.
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
    """Hold all that is needed to embed faces and to decide.

    `chosen_because` says in a sentence why this bundle was chosen. The fingerprint does not
    include the cohort and the quality head, because they do not change the vectors.
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
        self, vector: NDArray[np.float32], quality: LearnedQuality | None = None
    ) -> Template:
        """Return the template of a unit vector `(d,)` that this bundle made.

        `quality` is what the quality head found in the photo, if it was used.
        """
        template = Template(
            vector, self.fingerprint, self.cohort.mean(vector), strangers_mean=self._strangers_mean
        )
        if quality is None:
            return template
        return replace(
            template,
            conditions=quality.conditions,
            quality=quality.quality,
            is_poor=quality.is_poor,
        )

    def assess(self, features: NDArray[np.float32]) -> LearnedQuality | None:
        """Judge the quality of a photo by its features `(w,)`; None without a quality head."""
        return None if self.quality is None else self.quality(features)

    def fuse(self, templates: Sequence[Template]) -> Template:
        """Fuse the templates of several photos of one person into one.

        Photos of higher quality weigh more, if the quality of all of them is known. The result
        has the conditions that all photos share. If the vectors cancel each other out, the result
        is the first template with a coherence of 0, and scores like that of a different person.
        """
        if len(templates) == 1:
            return templates[0]
        qualities = [each.quality for each in templates if each.quality is not None]
        # Never zero: the weights would not add up if all photos were that poor.
        weights = [max(each, _LEAST_WEIGHT) for each in qualities]
        if len(qualities) < len(templates):
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
            max(qualities, default=None),
            strangers_mean=self._strangers_mean,
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
    def _strangers_mean(self) -> float | None:
        calibration = self.manifest.calibration
        return None if calibration is None else calibration.strangers_mean

    @property
    def evidence(self) -> Evidence:
        """Return on what photos the error rates were measured."""
        calibration = self.manifest.calibration
        names = {rates.condition for rates in self.conditions if rates.condition != "none"}
        return Evidence(
            None if calibration is None else calibration.data,
            tuple(name for name in CONDITION_NAMES if name in names),
            max((min(rates.probes, rates.templates) for rates in self.fusion), default=1),
        )

    @property
    def conditions(self) -> tuple[ConditionRates, ...]:
        """Return the rates that were measured under conditions."""
        calibration = self.manifest.calibration
        return () if calibration is None else calibration.conditions

    @property
    def groups(self) -> tuple[GroupRates, ...]:
        """Return the rates that were measured among the people of each group."""
        calibration = self.manifest.calibration
        return () if calibration is None else calibration.groups

    @property
    def fusion(self) -> tuple[FusionRates, ...]:
        """Return the rates that were measured with several fused photos."""
        calibration = self.manifest.calibration
        return () if calibration is None else calibration.fusion

    @property
    def licences(self) -> tuple[Licence, ...]:
        """Return the licence of every network that the bundle uses."""
        return licences_of(self.manifest, self.detector.name, self.detector.weights)

    @property
    def probability(self) -> Logistic | None:
        calibration = self.manifest.calibration
        return None if calibration is None else calibration.probability


def licences_of(
    manifest: Manifest, detector: DetectorName, file: Path | None = None
) -> tuple[Licence, ...]:
    """Return the licence of every network that a bundle uses with this detector.

    `file` is the detector's own file, if it has one.
    """
    networks = []
    match detector:
        case "yunet":
            name = YUNET.name if file is None else f"{YUNET.name} ({file.name})"
            networks.append(Licence("detector", name, YUNET.licence))
        case "dlib":
            networks.append(Licence("detector", "dlib's five-point landmarks", DLIB_LICENCE))
        case "none":
            pass
    unknown = "not stated: ask its makers"
    reference = manifest.encoder
    inside = reference.source in ("", "encoder", _ENCODER_FILE)
    name = manifest.name if inside else reference.source
    networks.append(Licence("encoder", name, reference.licence or unknown))
    if manifest.head is not None:
        networks.append(Licence("head", manifest.name, manifest.licence or unknown))
    return tuple(networks)


def choose_bundle(source: str | None, folder: Path = BUILTIN_FOLDER) -> tuple[str, str]:
    """Return the bundle to load, and why in a phrase; `folder` contains the built-in bundles.

    If `source` is None, it is the installed bundle with the lowest FNMR at FMR 1e-4 on View 1 of
    LFW. Accuracy would be a worse criterion: it is measured where FMR and FNMR are equal, and two
    encoders that differ by 0.01 there may differ fivefold in FNMR at an operating point.
    """
    if source is not None:
        return source, "named in the settings"
    rates = {name: _fnmr(read_manifest(folder / name)) for name in installed_bundles()}
    best = min(rates, key=lambda name: rates[name])
    others = ", ".join(f"`{name}` {rates[name]:.1%}" for name in rates if name != best)
    return best, (
        f"because it rejects {rates[best]:.1%} of genuine comparisons at FMR 1e-4 on LFW View 1, "
        f"the fewest of the installed bundles ({others})"
    )


def installed_bundles() -> tuple[BuiltinName, ...]:
    """Return the built-in bundles whose weights are installed."""
    return tuple(name for name in BUILTIN_NAMES if name != "dlib" or has_dlib())


def _fnmr(manifest: Manifest) -> float:
    points = () if manifest.calibration is None else manifest.calibration.operating_points
    return next((point.fnmr.value for point in points if point.name == _RANKED_AT), 1.0)


def load_bundle(
    source: str | None = None,
    *,
    weights: Path | None = None,
    detector: DetectorName | None = None,
    yunet_path: Path | None = None,
    because: str | None = None,
) -> Bundle:
    """Load a built-in bundle by name, a bundle folder, or a CLIP encoder without a head.

    A folder without `bundle.json`, or a hub id, is a CLIP encoder: the vector is its pooled
    feature scaled to unit length, and there are no operating points. `weights` is a folder with
    the networks that are otherwise installed by packages. `detector` and `yunet_path` replace the
    bundle's own detector. `because` says why the bundle was chosen. Raises InvalidBundle.
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
            f"The bundle makes crops of {manifest.pixels.size} pixels, but its encoder needs "
            f"{encoder.image_size}."
        )
    detector_source = find_detector(
        detector or manifest.detector or ("dlib" if has_dlib() else "yunet"),
        manifest.pixels.template,
        weights,
        yunet_path,
    )
    identity = fingerprint(encoder, head, manifest.pixels)
    if weights is None or manifest.encoder.source != _SFACE_SOURCE:
        _check_identity(folder, manifest, identity)
    if manifest.detector is not None and detector_source.name != manifest.detector:
        reason += (
            f"; its error rates were measured with the detector `{manifest.detector}` and do not "
            f"hold with `{detector_source.name}`"
        )
    dimension = encoder.width if head is None else head.dimension
    cohort = NO_COHORT
    if manifest.cohort is not None:
        cohort = read_cohort(folder, manifest.cohort, dimension)
    quality = None
    if manifest.quality is not None:
        quality = read_quality(folder, manifest.quality, encoder.width)
    return Bundle(manifest, encoder, head, detector_source, identity, reason, cohort, quality)


def fingerprint(encoder: Encoder, head: Head | None, pixels: PixelSpec) -> str:
    """Return 64 hexadecimal digits that differ for any two bundles with different vectors."""
    preprocessing = json.dumps(pixels.as_dict(), sort_keys=True).encode()
    parts = [
        *(encoder.digest(), encoder.architecture.encode()),
        *(b"" if head is None else digest(head), preprocessing),
    ]
    return hashlib.sha256(b"|".join(hashlib.sha256(p).digest() for p in parts)).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read and check `bundle.json`; raises InvalidBundle, which names the wrong field."""
    try:
        data = (folder / "bundle.json").read_bytes()
        # Comparisons with NaN are always false, so a NaN threshold would never match.
        return Manifest.model_validate(from_json(data, allow_inf_nan=False))
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
    """Write `bundle.json`, indented and without empty fields."""
    text = manifest.model_dump_json(indent=2, exclude_none=True)
    (folder / "bundle.json").write_text(text + "\n")


def save_weights(folder: Path, encoder: "ClipEncoder", head: Head | None) -> None:
    """Write `encoder/` and `head.safetensors` into a bundle, at their present precision."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder.save(folder / "encoder")
    if head is not None:
        save_head(folder, head)


def save_head(folder: Path, head: Head) -> None:
    """Write `head.safetensors` into a bundle, at its present precision."""
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
    """Write a bundle for a network in an ONNX file, without a head or operating points."""
    folder.mkdir(parents=True, exist_ok=True)
    data = network.read_bytes()
    (folder / _ENCODER_FILE).write_bytes(data)
    reference = EncoderReference(
        kind="onnx",
        source=_ENCODER_FILE,
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
        not_good_for="deciding, until it is calibrated on faces, and then for faces unlike those",
        fingerprint=fingerprint(encoder, None, pixels),
    )
    write_manifest(folder, manifest)


def copy_encoder(bundle: Bundle, source: str, out: Path) -> EncoderReference:
    """Copy the encoder of the bundle `source` to a new bundle at `out`; return the reference.

    An encoder on the hub is not copied; the reference then names the revision that was loaded.
    """
    from models.encoder.clip import ClipEncoder

    reference = bundle.manifest.encoder
    if isinstance(bundle.encoder, OnnxEncoder) and reference.source != _SFACE_SOURCE:
        shutil.copyfile(folder_of(source) / reference.source, out / reference.source)
    if not isinstance(bundle.encoder, ClipEncoder):
        return reference
    local = folder_of(source) / reference.source
    if not local.is_dir() and not Path(reference.source).is_dir():
        revision = reference.revision or bundle.encoder.revision
        return reference.model_copy(update={"revision": revision})
    bundle.encoder.save(out / "encoder")
    return EncoderReference(kind="clip", source="encoder")


def folder_of(source: str) -> Path:
    """Return the folder of the bundle with this name or path; it need not exist."""
    return BUILTIN_FOLDER / source if source in BUILTIN_NAMES else Path(source)


def _check_identity(folder: Path, manifest: Manifest, identity: str) -> None:
    """Raise InvalidBundle if the weights of a bundle have changed since it was made."""
    if manifest.fingerprint not in (None, identity):
        raise InvalidBundle(
            f"The bundle in {folder} has the fingerprint {identity[:12]}, but its bundle.json says "
            f"{manifest.fingerprint[:12]}: a file with weights is damaged or a different one, so "
            "its templates and thresholds do not hold. Copy the bundle again, or install its "
            "release again."
        )


def check_source(source: str) -> None:
    """Raise InvalidBundle unless `source` names a bundle or a CLIP folder here, or is a hub id.

    A hub id has the form owner/name. If the owner is the name of a local folder, `source` is taken
    for a path that does not exist.
    """
    path = folder_of(source)
    if (path / "bundle.json").is_file() or (path.is_dir() and (path / "config.json").is_file()):
        return
    if source and path.is_dir():
        raise InvalidBundle(
            f"The folder {source} contains neither bundle.json nor the config.json of a CLIP."
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
    if reference.source == _SFACE_SOURCE:
        return OnnxEncoder.load(locate(SFACE, weights))
    path = folder / reference.source
    if not path.is_file():
        raise InvalidBundle(f"{path} is missing: it is the encoder of the bundle.")
    if reference.sha256 is not None:
        check_hash(path, [reference.sha256], "copy the bundle again, or make it again")
    encoder = OnnxEncoder.load(path)
    if reference.input is not None and encoder.input != reference.input:
        raise InvalidBundle(
            f"{path} has an input named `{encoder.input}`; bundle.json says `{reference.input}`."
        )
    return encoder


def _load_clip_of(reference: EncoderReference, folder: Path) -> "ClipEncoder":
    local = folder / reference.source
    if local.is_dir():
        return _load_clip(local)
    if "/" not in reference.source:
        # The hub also has repositories without an owner: one might have this name by chance.
        raise InvalidBundle(f"{local} is missing: it is the encoder of the bundle.")
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
        trained_on="the images and texts of the makers of CLIP; nothing was trained on faces",
        not_good_for="deciding: it has no operating points until it is calibrated on faces",
    )
