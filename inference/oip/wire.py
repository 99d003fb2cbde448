"""The JSON and the binary data of an infer call over HTTP, in and out: the protocol and its binary tensor extension."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from inference.oip import parameters
from inference.oip.inferring import Asked, Inferred, reference
from inference.oip.tensors import Tensor
from mlplatform.lib import strict_json
from mlplatform.lib.errors import ErrorKind, PlatformError, invalid
from tenants.http.messages import only, required

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
BINARY_TYPE: Final = "application/octet-stream"
_MAX_ID: Final = 256
_CALL: Final = ("id", "inputs", "model_name", "model_version", "outputs", "parameters")
_INPUT: Final = ("data", "datatype", "name", "parameters", "shape")
_OUTPUT: Final = ("name", "parameters")


def parse(body: bytes, *, header_length: str, model: str, version: str) -> Asked:
    """``header_length`` is that header's text, empty where all of the body is JSON; the address names ``model`` and, unless
    it is empty, ``version``. KServe's client names the model in the body too.

    Raises MALFORMED for what cannot be read, INVALID_INPUT that names the field for what can but has no meaning here.
    """
    head, binary = _split(body, header_length)
    call = only(head, _CALL)
    _agree(call, "model_name", model)
    version = _agree(call, "model_version", version)
    reader = _Binary(binary)
    inputs = [_input(item, f"inputs[{index}]", reader) for index, item in enumerate(_objects(call, "inputs"))]
    reader.require_end()
    wanted = []
    for index, item in enumerate(_objects(call, "outputs")):
        place = f"outputs[{index}]"
        output = only(item, _OUTPUT, path=f"{place}.")
        wanted.append(parameters.wanted(_name(output, place), _object(output, f"{place}."), place))
    return Asked(
        model=reference(model, version),
        id=_id(call),
        inputs=inputs,
        wanted=wanted,
        parameters=parameters.of_call(_object(call, "")),
    )


def render(asked: Asked, inferred: Inferred) -> tuple[bytes, int | None]:
    """The body, and how much of it is JSON where binary data follow."""
    tensors: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for output in inferred.outputs:
        tensor: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
        if output.binary:
            binary.append(output.raw())
            tensor["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            tensor["data"] = output.flat()
        tensors.append(tensor)
    body: dict[str, Any] = {"model_name": inferred.model, "model_version": inferred.version}
    if asked.id:
        body["id"] = asked.id
    body |= {"parameters": inferred.parameters, "outputs": tensors}
    head = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join((head, *binary)), len(head)) if binary else (head, None)


class _Binary:
    """What stands behind the JSON, given out in the order of the inputs."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._position = 0

    def take(self, size: int, place: str) -> memoryview:
        end = self._position + size
        if end > len(self._data):
            left = len(self._data) - self._position
            raise invalid(
                f"{place}.parameters.binary_data_size", f"The input says {size:,} bytes; {left:,} are left in the body."
            )
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def require_end(self) -> None:
        left = len(self._data) - self._position
        if left:
            raise PlatformError(
                ErrorKind.MALFORMED, f"The body has {left:,} bytes that belong to no input; see binary_data_size."
            )


def _split(body: bytes, header_length: str) -> tuple[dict[str, Any], memoryview]:
    """The JSON of the body, and the binary data behind it.

    KServe's and Triton's clients write the header into the dictionary that they are handed, so a JSON call may come with the
    length of a binary one before it. A body that is JSON to its end has nothing behind it, whatever the header says.
    """
    try:
        size = _json_size(body, header_length)
        call = strict_json.loads(body[:size])
    except PlatformError as problem:
        if not header_length:
            raise
        try:
            size, call = len(body), strict_json.loads(body)
        except PlatformError:
            raise problem from None
    if not isinstance(call, dict):
        raise PlatformError(ErrorKind.MALFORMED, "The body must be a JSON object.")
    return call, memoryview(body)[size:]


def _json_size(body: bytes, header_length: str) -> int:
    if not header_length:
        return len(body)
    if not (header_length.isascii() and header_length.isdecimal()) or int(header_length[:20]) > len(body):
        raise PlatformError(
            ErrorKind.MALFORMED,
            f"{HEADER_LENGTH} is the size of the JSON at the start of the body of {len(body):,} bytes.",
        )
    return int(header_length[:20])


def _agree(call: Mapping[str, Any], name: str, addressed: str) -> str:
    """What the address says, else what the body says. Raises INVALID_INPUT where both say something else."""
    if name not in call:
        return addressed
    value = call[name]
    if not isinstance(value, str):
        raise invalid(name, f"The {name} is text.")
    if addressed and value != addressed:
        raise invalid(
            name,
            f"The address names {addressed!r} and the body {value[:64]!r}; leave the field out or let both be equal.",
        )
    return value


def _input(item: Mapping[str, Any], place: str, reader: _Binary) -> Tensor:
    item = only(item, _INPUT, path=f"{place}.")
    name = _name(item, place)
    datatype = required(item, "datatype", path=f"{place}.")
    if not isinstance(datatype, str):
        raise invalid(f"{place}.datatype", "The datatype is text such as FP32 or BYTES.")
    shape = required(item, "shape", path=f"{place}.")
    if not isinstance(shape, list):
        raise invalid(f"{place}.shape", "The shape is a list of whole numbers.")
    size = parameters.binary_size_of_input(_object(item, f"{place}."), place)
    if size is not None:
        if "data" in item:
            raise invalid(f"{place}.data", "The data are in the JSON or behind it, not both.")
        return Tensor(name, datatype, shape, raw=reader.take(size, place))
    return Tensor(name, datatype, shape, values=required(item, "data", path=f"{place}."))


def _objects(call: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    value = call.get(name, []) if name == "outputs" else required(call, name)
    if not isinstance(value, list):
        raise invalid(name, f"The {name} are a list of objects.")
    for index, item in enumerate(value):
        if not isinstance(item, dict):
            raise invalid(f"{name}[{index}]", f"Each of the {name} is an object.")
    return value


def _object(item: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    value = item.get("parameters", {})
    if not isinstance(value, dict):
        raise invalid(f"{path}parameters", "The parameters are an object.")
    return strict_json.present(value)


def _name(item: Mapping[str, Any], place: str) -> str:
    name = required(item, "name", path=f"{place}.")
    if not isinstance(name, str):
        raise invalid(f"{place}.name", "The name is text.")
    return name


def _id(call: Mapping[str, Any]) -> str:
    value = call.get("id", "")
    if not isinstance(value, str) or len(value) > _MAX_ID:
        raise invalid("id", f"The id is text of at most {_MAX_ID} characters.")
    return value
