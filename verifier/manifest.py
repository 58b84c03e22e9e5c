"""A circuit's identity: the manifest, whose RFC 8785 bytes' SHA-256 names the circuit.

Takes the bytes of ``manifest.json`` and gives a `Manifest`.
Only things that a rebuild reproduces are in it (design, section 3).
The part that a proof system adds is told apart by its name: EZKL's is here, that of verinfer-sc/1 in `sumcheck_system`.
"""

from __future__ import annotations

from math import prod
from typing import Annotated, Literal

from pydantic import Field, model_validator

from . import strict_json
from .digest import CHALLENGE_LIMBS, CHALLENGE_NAME, sha256
from .errors import Malformed, UsageError
from .model_spec import InputSpec, OutputSpec
from .sumcheck_system import SumcheckSystem
from .wire import Dtype, Hex32, Integer, Items, Name, Natural, Positive, Shape, Text, Wire, validate

MANIFEST_TYPE = "urn:verinfer:manifest:v1"
MANIFEST_LIMIT = 4 << 20
LARGEST_BOUND = 2**53
MOST_BATCHED = 600
"""Samples of one proof; no more are looked at when a circuit is made or made again."""


class ModelIdentity(Wire):
    """Which model: its name and version, and the SHA-256 of the ONNX file as given."""

    name: Name
    version: Name
    onnx: Hex32


Visibility = Literal["public", "hashed", "private"]
"""What a proof shows of a circuit's inputs: their values; a Poseidon hash of the values and a salt; or nothing."""


_Scale = Annotated[Integer, Field(ge=-64, le=64)]


class Tensor(Wire):
    """One tensor of the instance layout, in the circuit's own order."""

    name: Name
    role: Literal["input", "challenge", "output"]
    shape: Shape
    dtype: Dtype
    scale: _Scale
    visibility: Visibility

    @property
    def size(self) -> int:
        """How many elements; a hashed tensor has the limbs of its salt behind them."""
        return prod(self.shape)


MOST_ENTRIES = 1 << 20
"""Of a lookup table."""


class RunArgs(Wire):
    """The EZKL run args that were chosen; everything else is EZKL's default or fixed by verinfer.

    Bounded to what circuits of ours use, since an auditor builds what a stranger's manifest says.
    """

    input_scale: Annotated[Natural, Field(le=64)]
    param_scale: _Scale
    scale_rebase_multiplier: Annotated[Positive, Field(le=1000)]
    lookup_range: Annotated[Items[Integer], Field(min_length=2, max_length=2)]
    logrows: Annotated[Positive, Field(le=26)]
    num_inner_cols: Annotated[Positive, Field(le=64)]
    decomp_base: Annotated[Positive, Field(ge=2, le=1 << 24)]
    decomp_legs: Annotated[Positive, Field(le=64)]
    disable_freivalds: bool
    input_visibility: Visibility
    output_visibility: Literal["public"]
    param_visibility: Literal["fixed"]

    @model_validator(mode="after")
    def _within_reason(self) -> RunArgs:
        low, high = self.lookup_range
        if not low <= high < low + MOST_ENTRIES:
            raise ValueError(f"lookup_range must hold 1 to {MOST_ENTRIES} numbers")
        if self.decomp_base & (self.decomp_base - 1):
            raise ValueError("decomp_base must be a power of two, so that digits are unique")
        if self.decomp_base**self.decomp_legs > LARGEST_BOUND:
            raise ValueError("decomp_base^decomp_legs is beyond 2^53")
        return self


class SrsIdentity(Wire):
    """The SRS by digests: the full file and its canonical k=1 cut."""

    full: Hex32
    cut: Hex32


class EzklSystem(Wire):
    """Everything that fixes an EZKL circuit: settings, vk, SRS, version and run args are one object."""

    name: Literal["ezkl-halo2-kzg"]
    version: Annotated[Text, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")]
    settings: Hex32
    vk: Hex32
    srs: SrsIdentity
    run_args: RunArgs
    selectors: Literal["uncompressed"] | None = None
    """A column for each selector. Absent: EZKL's default, selectors that exclude each other share one, and whoever reads the vk
    finds out anew which."""
    proof_bytes: Positive

    @property
    def runtime(self) -> str:
        """What statements call this runtime."""
        return f"ezkl {self.version}"

    @property
    def visibility(self) -> Visibility:
        """What a proof shows of the inputs."""
        return self.run_args.input_visibility

    @property
    def bound(self) -> int:
        """Every value of the statement has a magnitude below this."""
        return min(int(self.run_args.decomp_base**self.run_args.decomp_legs), LARGEST_BOUND)

    @property
    def input_range(self) -> tuple[int, int]:
        """The least and the largest integer that a statement may have as an input."""
        return 1 - self.bound, self.bound - 1

    @model_validator(mode="after")
    def _holds_a_limb(self) -> EzklSystem:
        if self.bound < 1 << 16:
            raise ValueError(
                "decomp_base^decomp_legs is below 65536, so a limb of the challenge does not fit"
            )
        return self


class Rewrite(Wire):
    """One rewrite of the graph, by name, in the order of application; a fixed-point lowering has its numbers."""

    name: Name
    weights: Items[Integer] | None = None
    fractions: Items[Integer] | None = None
    paired: Items[Annotated[Natural, Field(le=1)]] | None = None

    @model_validator(mode="after")
    def _numbers_of_a_lowering(self) -> Rewrite:
        numbers = (self.weights, self.fractions, self.paired)
        if any((item is None) != (self.name != "fixed-point") for item in numbers):
            raise ValueError(
                "fixed-point has weights, fractions and paired, other rewrites have none of them"
            )
        return self


class Manifest(Wire):
    """Identity of a circuit package."""

    type: Literal["urn:verinfer:manifest:v1"]
    model: ModelIdentity
    wrapped_onnx: Hex32 | None = None
    """Of the graph with the challenge, EZKL's alone."""
    rewrites: Items[Rewrite]
    proof_system: Annotated[EzklSystem | SumcheckSystem, Field(discriminator="name")]
    layout: Annotated[Items[Tensor], Field(min_length=2)]
    quantisation: Literal["binary64-half-away-from-zero", "binary64-half-away-from-zero-clamped"]
    task: Literal["classification", "regression"]
    inputs: Annotated[Items[InputSpec], Field(min_length=1)]
    outputs: Annotated[Items[OutputSpec], Field(min_length=1)]
    labels: Items[Text] | None = None
    batch: Annotated[Natural, Field(ge=2, le=MOST_BATCHED)] | None = None
    """How many samples one proof covers, each a row of every tensor. Absent: one, as `inputs` and `outputs` describe it."""

    @model_validator(mode="after")
    def _layout_is_the_models(self) -> Manifest:
        roles = [tensor.role for tensor in self.layout]
        # A proof of verinfer-sc/1 takes the challenge beside its tensors.
        challenge = ["challenge"] if isinstance(self.proof_system, EzklSystem) else []
        if roles != ["input"] * len(self.inputs) + challenge + ["output"] * len(self.outputs):
            raise ValueError("layout must be the inputs, for EZKL one challenge, then the outputs")
        names = [tensor.name for tensor in self.layout if tensor.role != "challenge"]
        if names != [*(tensor.name for tensor in self.inputs), *(tensor.name for tensor in self.outputs)]:
            raise ValueError("layout does not have the tensors in the model's order")
        specs: dict[str, InputSpec | OutputSpec] = {tensor.name: tensor for tensor in self.inputs}
        specs |= {tensor.name: tensor for tensor in self.outputs}
        for tensor in self.layout:
            if tensor.role == "challenge":
                if (tensor.name, tensor.shape, tensor.dtype, tensor.scale) != (
                    CHALLENGE_NAME,
                    (1, CHALLENGE_LIMBS),
                    "INT64",
                    0,
                ):
                    raise ValueError("the challenge is an INT64 tensor of shape [1, 16] at scale 0")
            elif (spec := specs.pop(tensor.name, None)) is None:
                raise ValueError(f"layout has the unknown or repeated tensor {tensor.name}")
            elif (tensor.shape, tensor.dtype) != (batched_shape(spec.shape, self.samples), spec.dtype):
                raise ValueError(f"layout and model differ about {tensor.name}")
        return self

    @model_validator(mode="after")
    def _is_of_its_system(self) -> Manifest:
        ezkl = isinstance(self.proof_system, EzklSystem)
        if ezkl != (self.wrapped_onnx is not None):
            raise ValueError("wrapped_onnx belongs to EZKL, and only there")
        if ezkl != (self.quantisation == "binary64-half-away-from-zero"):
            raise ValueError("verinfer-sc-1 clamps its inputs, and EZKL does not")
        if ezkl and any(tensor.scale < 0 for tensor in self.layout):
            raise ValueError("EZKL has no negative scales")
        if not ezkl and (len(self.layout) != 2 or self.rewrites or self.batch is not None):
            raise ValueError("verinfer-sc-1 takes one input and one output, no rewrites and no batch")
        return self

    @model_validator(mode="after")
    def _hides_inputs_alone(self) -> Manifest:
        for tensor in self.layout:
            if tensor.visibility != (self.visibility if tensor.role == "input" else "public"):
                raise ValueError(f"{tensor.name} has another visibility than the circuit gives it")
        return self

    @model_validator(mode="after")
    def _labels_are_the_models(self) -> Manifest:
        if (self.task == "classification") != (self.labels is not None):
            raise ValueError("labels belong to classification, and only there")
        if self.labels is not None and len(self.labels) != prod(self.outputs[0].shape):
            raise ValueError("one label for each element of the first output")
        return self

    @property
    def digest(self) -> str:
        """The circuit's identity."""
        return sha256(self.canonical())

    @property
    def ezkl(self) -> EzklSystem:
        """The proof system, where only EZKL's will do; raises `UsageError` (``system-unsuitable``)."""
        if not isinstance(self.proof_system, EzklSystem):
            raise UsageError(
                "system-unsuitable",
                f"This takes circuits of EZKL, and that of {self.model.name} is of {self.proof_system.name}.",
            )
        return self.proof_system

    @property
    def visibility(self) -> Visibility:
        """What a proof shows of the inputs; outputs and challenge are public."""
        return self.proof_system.visibility

    @property
    def samples(self) -> int:
        """How many samples one proof covers."""
        return self.batch or 1

    def tensors(self, role: Literal["input", "output"]) -> tuple[Tensor, ...]:
        """The tensors of one role, in order."""
        return tuple(tensor for tensor in self.layout if tensor.role == role)


def batched_shape(shape: tuple[int, ...], batch: int) -> tuple[int, ...]:
    """The shape of so many samples together: rows of a tensor that has one row for one sample; raises ValueError without that."""
    if batch == 1:
        return shape
    if shape[:1] != (1,):
        raise ValueError("only tensors whose first dimension is 1 can be batched")
    return (batch, *shape[1:])


def parse_manifest(data: bytes) -> Manifest:
    """Read ``manifest.json``; its bytes must be canonical, so that one identity has one file.

    Raises `Malformed` (``manifest-malformed``, ``json-invalid``, ``too-large``).
    """
    value = strict_json.parse(data, limit=MANIFEST_LIMIT, what="manifest")
    if strict_json.canonical(value) != data:
        raise Malformed("manifest-malformed", "The manifest is not in RFC 8785 form.")
    return validate(Manifest, value, code="manifest-malformed")
