"""One release of encoder reference, head and calibration, and its fingerprint."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from models.decision import DEFAULT_POINT, OperatingPoint
from models.encoder.encoder import DlibEncoder, Encoder, digest
from models.encoder.head import Head, check_fit
from models.encoder.pixels import PixelSpec
from models.errors import InvalidBundle
from models.probability import Logistic
from models.rate_curve import RateCurve

if TYPE_CHECKING:
    from models.encoder.clip import ClipEncoder

BuiltinName = Literal["builtin", "dlib"]
BUILTIN_NAMES: tuple[BuiltinName, ...] = get_args(BuiltinName)
BUILTIN_FOLDER = Path(__file__).parent / "bundles"
# What the compact encoder must reach on View 1 of LFW to be the default (see `choose`).
DEFAULT_ACCURACY = 0.96
DEFAULT_FNMR = 0.10


class EncoderReference(BaseModel):
    """Say where the encoder's weights are: a folder beside the manifest, a hub id, or dlib's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["clip", "dlib"]
    source: str = ""
    revision: str | None = None


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
    probability: Logistic | None = None
    curve: RateCurve | None = None


class Manifest(BaseModel):
    """Hold `bundle.json`; `head` lists the head's widths, from features to vector."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    name: str
    encoder: EncoderReference
    head: tuple[int, ...] | None = None
    pixels: PixelSpec
    trained_on: str
    not_good_for: str
    calibration: Calibration | None = None
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class Bundle:
    """Hold what is needed to embed and decide; `chosen_because` says why it is this one."""

    manifest: Manifest
    encoder: Encoder
    head: Head | None
    fingerprint: str
    chosen_because: str

    @property
    def dimension(self) -> int:
        """Return the length of its vectors."""
        return self.encoder.width if self.head is None else self.head.dimension

    @property
    def operating_points(self) -> tuple[OperatingPoint, ...]:
        calibration = self.manifest.calibration
        return () if calibration is None else calibration.operating_points

    @property
    def probability(self) -> Logistic | None:
        calibration = self.manifest.calibration
        return None if calibration is None else calibration.probability


def choose(source: str | None, folder: Path = BUILTIN_FOLDER) -> tuple[str, str]:
    """Return the bundle to load and why; `folder` holds the built-in ones.

    Unless one is named, `builtin` is served once its View 1 accuracy has reached 0.96 and it
    refuses at most a tenth of genuine comparisons at FMR 1e-3, and `dlib` until then. The
    accuracy alone would not do: it is taken where FMR and FNMR are alike, and at the
    operating point that decides here two encoders a hundredth apart in accuracy may differ
    fivefold in FNMR.
    """
    if source is not None:
        return source, "named in the settings"
    calibration = read_manifest(folder / "builtin").calibration
    accuracy = 0.0 if calibration is None else calibration.accuracy
    if accuracy < DEFAULT_ACCURACY:
        return "dlib", f"`builtin` has LFW View 1 accuracy {accuracy:.3f}, under {DEFAULT_ACCURACY}"
    points = {} if calibration is None else {p.name: p for p in calibration.operating_points}
    fnmr = points[DEFAULT_POINT].fnmr.value if DEFAULT_POINT in points else 1.0
    if fnmr > DEFAULT_FNMR:
        return "dlib", f"`builtin` has FNMR {fnmr:.1%} at FMR 1e-3, over {DEFAULT_FNMR:.0%}"
    return "builtin", f"its accuracy is {accuracy:.3f}, its FNMR {fnmr:.1%} at FMR 1e-3"


def load_bundle(source: str | None = None) -> Bundle:
    """Load a built-in bundle by name, a bundle directory, or a bare CLIP encoder.

    A directory without `bundle.json`, or a hub id, is served without a head: the vector is
    the pooled feature scaled to unit length, and there are no operating points. Raises
    InvalidBundle.
    """
    name, reason = choose(source)
    folder = folder_of(name)
    if (folder / "bundle.json").is_file():
        manifest = read_manifest(folder)
        encoder = _load_encoder(manifest.encoder, folder)
        head = _load_head(folder / "head.safetensors", manifest.head)
    else:
        encoder, head = _load_clip(name), None
        manifest = _bare_manifest(name, encoder.image_size)
    if head is not None:
        check_fit(head, encoder.width)
    if manifest.pixels.size != encoder.image_size:
        raise InvalidBundle(
            f"The bundle cuts crops of {manifest.pixels.size} pixels, but its encoder was "
            f"built for {encoder.image_size}."
        )
    return Bundle(manifest, encoder, head, fingerprint(encoder, head, manifest.pixels), reason)


def fingerprint(encoder: Encoder, head: Head | None, pixels: PixelSpec) -> str:
    """Return 64 hexadecimal digits that change whenever vectors stop being comparable."""
    preprocessing = json.dumps(pixels.as_dict(), sort_keys=True).encode()
    parts = [
        *(digest(encoder.network), encoder.architecture.encode()),
        *(b"" if head is None else digest(head), preprocessing),
    ]
    return hashlib.sha256(b"|".join(hashlib.sha256(p).digest() for p in parts)).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read and check `bundle.json`; raises InvalidBundle with the field that is wrong."""
    try:
        return Manifest.model_validate_json((folder / "bundle.json").read_bytes())
    except (OSError, ValidationError) as exc:
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


def place_encoder(bundle: Bundle, source: str, out: Path) -> EncoderReference:
    """Make a new bundle at `out` find the encoder of the bundle that `source` names.

    An encoder on this machine is copied; one on the hub is referred to, at the revision that
    was loaded.
    """
    from models.encoder.clip import ClipEncoder

    reference = bundle.manifest.encoder
    if reference.kind == "dlib" or not isinstance(bundle.encoder, ClipEncoder):
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


def _load_encoder(reference: EncoderReference, folder: Path) -> Encoder:
    if reference.kind == "dlib":
        return DlibEncoder.load()
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
    if widths is not None and widths != head.widths:
        raise InvalidBundle(f"{path} has widths {head.widths}; bundle.json says {widths}.")
    return head


def _bare_manifest(name: str, image_size: int) -> Manifest:
    return Manifest(
        name=name,
        encoder=EncoderReference(kind="clip", source=name),
        pixels=PixelSpec(size=image_size, margin=0.5),
        trained_on="images and texts of CLIP's own makers; no head, nothing trained on faces",
        not_good_for="deciding: it has no operating points until it is calibrated on faces",
    )
