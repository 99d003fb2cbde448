"""KServe's own clients, unchanged, in the environment of the clients; see :mod:`tests.support.clients`.

Its argument is ``http`` and the base address, or ``grpc`` and the target. A call is ``{"method", "arguments"}``; that of
``infer`` has ``inputs`` and may have ``same_headers``, whose dictionary is then handed to every such call.
"""

import asyncio
import json
import sys
from typing import Any

import grpc
import httpx  # type: ignore[import-not-found]
import numpy as np
from kserve import (  # type: ignore[import-not-found]
    InferenceGRPCClient,
    InferenceRESTClient,
    InferInput,
    InferRequest,
    RESTConfig,
)
from kserve.protocol.infer_type import RequestedOutput  # type: ignore[import-not-found]

DTYPES: dict[str, Any] = {"BYTES": np.object_, "FP32": np.float32, "FP16": np.float16, "INT64": np.int64}


def tensor(spec: dict[str, Any]) -> InferInput:
    """``{"name", "datatype", "data", "as"}``, where ``as`` is how the data are handed over: binary, json, array or list."""
    array: Any = np.array(spec["data"], dtype=DTYPES[spec["datatype"]])
    made = InferInput(spec["name"], list(array.shape), spec["datatype"])
    way = spec.get("as", "binary")
    if way in {"binary", "json"}:
        made.set_data_from_numpy(array, binary_data=way == "binary")
    else:
        made.data = array if way == "array" else array.reshape(-1).tolist()
    return made


def request(arguments: dict[str, Any]) -> InferRequest:
    outputs = [RequestedOutput(one["name"], one.get("parameters")) for one in arguments.get("outputs", [])]
    return InferRequest(
        model_name=arguments["model_name"],
        infer_inputs=[tensor(spec) for spec in arguments["inputs"]],
        request_id=arguments.get("request_id"),
        parameters=arguments.get("parameters"),
        request_outputs=outputs or None,
        model_version=arguments.get("model_version"),
    )


def plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | list):
        return [plain(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value.item() if isinstance(value, np.generic) else value


def seen(answer: Any) -> dict[str, Any]:
    return {
        "model": answer.model_name,
        "version": answer.model_version,
        "id": answer.id,
        "outputs": {one.name: plain(one.as_numpy()) for one in answer.outputs},
    }


async def over_http(base: str, calls: list[dict[str, Any]]) -> list[Any]:
    shared: dict[str, str] = {}
    said: list[Any] = []
    async with InferenceRESTClient(RESTConfig(protocol="v2", retries=0)) as client:
        for call in calls:
            arguments = call["arguments"]
            headers = arguments.get("headers", {})
            if arguments.get("same_headers"):
                shared.update(headers)
                headers = shared
            try:
                if call["method"] == "infer":
                    address = arguments.get("address", arguments["model_name"])
                    answer = await client.infer(base, request(arguments), model_name=address, headers=headers)
                    said.append({"ok": seen(answer)})
                elif call["method"] == "is_model_ready":
                    said.append({"ok": await client.is_model_ready(base, arguments["model_name"], headers=headers)})
                else:
                    said.append({"ok": await getattr(client, call["method"])(base)})
            except httpx.HTTPStatusError as error:
                said.append({"error": str(error), "type": str(error.response.status_code)})
    return said


async def over_grpc(target: str, calls: list[dict[str, Any]]) -> list[Any]:
    said: list[Any] = []
    async with InferenceGRPCClient(target, retries=0) as client:
        for call in calls:
            arguments = call["arguments"]
            headers = list(arguments.get("headers", {}).items())
            try:
                if call["method"] == "infer":
                    said.append({"ok": seen(await client.infer(request(arguments), headers=headers))})
                elif call["method"] == "is_model_ready":
                    said.append({"ok": await client.is_model_ready(arguments["model_name"], headers=headers)})
                else:
                    said.append({"ok": await getattr(client, call["method"])(headers=headers)})
            except grpc.aio.AioRpcError as error:
                said.append({"error": str(error), "type": error.code().name})
    return said


if __name__ == "__main__":
    over = over_http if sys.argv[1] == "http" else over_grpc
    print(json.dumps(asyncio.run(over(sys.argv[2], json.load(sys.stdin)))))
