"""ModelInfer's messages, in and out. Tensors are raw bytes or typed contents; the answer is raw unless asked otherwise."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from inference.grpc.generated import open_inference_pb2 as pb
from inference.oip import parameters
from inference.oip.inferring import Asked, Inferred, reference
from inference.oip.metadata import ModelInfo, TensorInfo
from inference.oip.outputs import Output
from inference.oip.tensors import Tensor
from mlplatform.lib.errors import invalid

# Where the protocol puts the elements of each datatype, and as what numpy reads them; FP16 has no such field.
_CONTENTS: Final[dict[str, tuple[str, str]]] = {
    "INT8": ("int_contents", "i4"),
    "INT16": ("int_contents", "i4"),
    "INT32": ("int_contents", "i4"),
    "INT64": ("int64_contents", "i8"),
    "UINT8": ("uint_contents", "u4"),
    "UINT16": ("uint_contents", "u4"),
    "UINT32": ("uint_contents", "u4"),
    "UINT64": ("uint64_contents", "u8"),
    "FP32": ("fp32_contents", "f4"),
}


def parse(request: pb.ModelInferRequest) -> Asked:
    """Raises INVALID_INPUT that names the field."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise invalid(
            "raw_input_contents", f"There are {len(raw)} raw contents for {len(request.inputs)} inputs; one each."
        )
    inputs = []
    for index, given in enumerate(request.inputs):
        place = f"inputs[{index}]"
        _check_binary_size(given, raw[index] if raw else None, place)
        if raw and given.HasField("contents"):
            raise invalid(f"{place}.contents", "The contents are typed or raw, not both.")
        shape = tuple(given.shape)
        if raw:
            inputs.append(Tensor(given.name, given.datatype, shape, raw=raw[index]))
        else:
            inputs.append(Tensor(given.name, given.datatype, shape, values=_values(given)))
    return Asked(
        model=reference(request.model_name, request.model_version),
        id=request.id,
        inputs=inputs,
        wanted=[
            parameters.wanted(one.name, _plain(one.parameters), f"outputs[{index}]")
            for index, one in enumerate(request.outputs)
        ],
        parameters=parameters.of_call(_plain(request.parameters)),
        binary=True,
    )


def _check_binary_size(given: pb.ModelInferRequest.InferInputTensor, raw: bytes | None, place: str) -> None:
    """``binary_data_size`` is HTTP's; KServe's client says it over gRPC too, and then it is the size of the raw contents."""
    size = parameters.binary_size_of_input(_plain(given.parameters), place)
    if size is None:
        return
    if raw is None:
        raise invalid(
            f"{place}.parameters.binary_data_size", "It goes with raw_input_contents; the contents are typed."
        )
    if size != len(raw):
        raise invalid(
            f"{place}.parameters.binary_data_size",
            f"The input says {size:,} bytes; its raw contents have {len(raw):,}.",
        )


def response(asked: Asked, inferred: Inferred) -> pb.ModelInferResponse:
    """All outputs are raw, or all are typed: clients find raw ones by their place."""
    message = pb.ModelInferResponse(model_name=inferred.model, model_version=inferred.version, id=asked.id)
    for name, value in inferred.parameters.items():
        if isinstance(value, bool):
            message.parameters[name].bool_param = value
        elif isinstance(value, str):
            message.parameters[name].string_param = value
        else:
            message.parameters[name].int64_param = value
    raw = any(output.binary for output in inferred.outputs)
    for output in inferred.outputs:
        tensor = message.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
        if raw:
            message.raw_output_contents.append(output.raw())
        else:
            _fill(tensor.contents, output)
    return message


def metadata(info: ModelInfo) -> pb.ModelMetadataResponse:
    """What a model takes and gives."""
    return pb.ModelMetadataResponse(
        name=info.name,
        versions=info.versions,
        platform=info.platform,
        inputs=[_tensor(one) for one in info.inputs],
        outputs=[_tensor(one) for one in info.outputs],
    )


def _tensor(info: TensorInfo) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(name=info.name, datatype=info.datatype, shape=info.shape)


def _values(given: pb.ModelInferRequest.InferInputTensor) -> Any:
    if given.datatype == "BYTES":
        return list(given.contents.bytes_contents)
    field, dtype = _CONTENTS.get(given.datatype, ("", ""))
    return np.array(getattr(given.contents, field), dtype=dtype) if field else []


def _fill(contents: pb.InferTensorContents, output: Output) -> None:
    values = output.values
    if isinstance(values, list):
        contents.bytes_contents.extend(text.encode() for text in values)
    else:
        contents.fp32_contents.extend(values.reshape(-1).tolist())


def _plain(given: Mapping[str, pb.InferParameter]) -> dict[str, Any]:
    return {name: getattr(value, value.WhichOneof("parameter_choice") or "", None) for name, value in given.items()}
