"""``tritonclient``'s gRPC client in a process of its own: its generated code registers the same protobuf package as ours.

Run with the server's address, it reads a list of calls as JSON from standard input and writes what came of each; with
``aio`` after the address, by the client for asyncio. Run with ``wire``, it writes the fields of its messages.
"""

import asyncio
import inspect
import json
import sys
from typing import Any

import numpy as np
from tritonclient import grpc as triton  # type: ignore[import-untyped]
from tritonclient.grpc import aio, service_pb2  # type: ignore[import-untyped]
from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]


def tensor(spec: dict[str, Any]) -> Any:
    """``{"name", "datatype", "data"}`` as the client's input; NaN and infinity come as JSON's extensions of Python."""
    dtype: Any = {"BYTES": np.object_, "FP32": np.float32, "FP64": np.float64, "INT64": np.int64}[spec["datatype"]]
    array: Any = np.array(spec["data"], dtype=dtype)
    made = triton.InferInput(spec["name"], list(array.shape), spec["datatype"])
    made.set_data_from_numpy(array)
    return made


def plain(array: Any) -> Any:
    return [plain(item) for item in array] if isinstance(array, np.ndarray) else _item(array)


def _item(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else float(value)


async def infer(client: Any, arguments: dict[str, Any]) -> Any:
    inputs = [tensor(spec) for spec in arguments.pop("inputs")]
    outputs = [triton.InferRequestedOutput(**output) for output in arguments.pop("outputs", [])]
    result = await done(client.infer(inputs=inputs, outputs=outputs or None, **arguments))
    answer = result.get_response()
    return {
        "model": answer.model_name,
        "version": answer.model_version,
        "id": answer.id,
        "outputs": {output.name: plain(result.as_numpy(output.name)) for output in answer.outputs},
    }


async def done(found: Any) -> Any:
    """What the client for asyncio promises, or what the other says."""
    return await found if inspect.isawaitable(found) else found


async def call(client: Any, method: str, arguments: dict[str, Any]) -> Any:
    if method == "infer":
        return await infer(client, arguments)
    found = await done(getattr(client, method)(**arguments))
    return found if isinstance(found, bool | dict) else str(found)


def wire() -> dict[str, list[int]]:
    """Number, type and label of each field of the client's own messages, by ``Message.field``."""
    return dict(fields_of(service_pb2.DESCRIPTOR.message_types_by_name.values(), ""))


def fields_of(messages: Any, prefix: str) -> Any:
    for message in messages:
        name = f"{prefix}{message.name}"
        for field in message.fields:
            yield f"{name}.{field.name}", [field.number, field.type, field.is_repeated]
        yield from fields_of(message.nested_types, f"{name}.")


async def talk(client: Any) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    for method, arguments in json.load(sys.stdin):
        try:
            said.append({"ok": await call(client, method, arguments)})
        except InferenceServerException as error:
            said.append({"status": error.status(), "message": error.message()})
    await done(client.close())
    return said


async def main() -> None:
    if sys.argv[1] == "wire":
        print(json.dumps(wire()))
        return
    made = aio.InferenceServerClient if sys.argv[2:] == ["aio"] else triton.InferenceServerClient
    print(json.dumps(await talk(made(url=sys.argv[1]))))


if __name__ == "__main__":
    asyncio.run(main())
