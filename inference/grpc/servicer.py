"""``ml_inference.InferenceService``: each method parses, calls ``inference.engine.predict``, renders."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from django.conf import settings

from billing.models import Operation
from inference.calls import deprecated_use
from inference.engine import predict as prediction
from inference.engine.predict import single
from inference.grpc import messages
from inference.grpc.calls import CallInfo, answer_headers, answer_unary, as_caller, end_headers, fail, info_of
from inference.grpc.exchange import Exchange
from inference.grpc.generated import ml_inference_pb2 as pb
from inference.grpc.generated import ml_inference_pb2_grpc
from inference.grpc.stream_permits import StreamPermits
from inference.grpc.streaming import HELPERS, Read, Stream
from inference.types import PredictRequest
from mlplatform.lib.errors import ErrorKind, PlatformError, invalid
from tenants.authentication import Caller

_TENANTS_WITH_ALL_THEIR_STREAMS: Final = 4
"""How many tenants can each have as many streams open as one may, before none is left for others."""


class InferenceServicer(ml_inference_pb2_grpc.InferenceServiceServicer):
    """The methods of the service."""

    def __init__(self, prepare_thread: Callable[[], None] | None = None) -> None:
        # A stream may need threads for as long as it is open.
        streams = max(1, settings.GRPC_THREADS // 2)
        self._free = streams
        self._permits = StreamPermits(max(1, streams // _TENANTS_WITH_ALL_THEIR_STREAMS))
        self._helpers = ThreadPoolExecutor(HELPERS * streams, "grpc-stream", initializer=prepare_thread)

    def Predict(self, request: pb.PredictRequest, context: Exchange) -> pb.PredictResponse:  # noqa: N802
        """One input."""

        def handle(caller: Caller, info: CallInfo) -> pb.PredictResponse:
            parsed = messages.parse(request)
            try:
                answer = prediction.predict(caller, parsed, info.context(Operation.PREDICT))
            except PlatformError:
                info.deprecations = deprecated_use.deprecations_of(caller, [parsed], call_id=info.request_id)
                raise
            info.note(answer)
            deprecated_use.sample(caller, [parsed], answer.results, client=info.client)
            return messages.response(single(answer), request, request_id=parsed.call_id or info.request_id)

        return answer_unary(context, handle)

    def BatchPredict(self, request: pb.BatchPredictRequest, context: Exchange) -> pb.BatchPredictResponse:  # noqa: N802
        """Many inputs, admitted at once."""
        return answer_unary(context, lambda caller, info: _batch(request, caller, info))

    async def StreamPredict(self, read: Read, context: Exchange) -> None:  # noqa: N802
        """Any number of inputs, answered in order. Runs on the event loop; ``read`` gives the next message."""
        info = info_of(context)
        if not self._free:
            too_many = "As many streams are open as this server takes; please try again."
            fail(context, PlatformError(ErrorKind.OVERLOADED, too_many, retry_after_s=1.0), info)
        self._free -= 1
        try:
            await _stream(Stream(info, context, read, self._helpers), self._permits)
        finally:
            self._free += 1


async def _stream(stream: Stream, permits: StreamPermits) -> None:
    info, exchange = stream.info, stream.exchange

    def begin(caller: Caller) -> tuple[Caller, dict[str, str]]:
        return caller, answer_headers(caller, info)

    try:
        caller, headers = await stream.in_thread(lambda: as_caller(info, begin))
        with permits.of(caller.tenant_id):
            exchange.send_initial_metadata(tuple(headers.items()))
            await exchange.begin()
            info.begun = True
            await stream.answers(caller)
    except Exception as error:  # noqa: BLE001 - each exception has its status; unexpected ones are logged there
        fail(exchange, error, info)
    # Limits and deprecations as they are after the last answer; at the beginning they were unknown.
    info.deprecations = stream.deprecations()
    exchange.set_trailing_metadata(tuple(end_headers(info).items()))


def _batch(request: pb.BatchPredictRequest, caller: Caller, info: CallInfo) -> pb.BatchPredictResponse:
    count = len(request.requests)
    if not count:
        raise invalid("requests", "The requests are a list of at least one.")
    if count > settings.MAX_BATCH_REQUESTS:
        raise invalid("requests", f"A call takes at most {settings.MAX_BATCH_REQUESTS} requests, not {count}.")
    parsed = [_parsed(item, index, request.model_name) for index, item in enumerate(request.requests)]
    wanted = [item for item in parsed if isinstance(item, PredictRequest)]
    try:
        answer = prediction.predict_many(caller, wanted, info.context(Operation.BATCH))
    except PlatformError:
        info.deprecations = deprecated_use.deprecations_of(caller, wanted, call_id=info.request_id)
        raise
    info.note(answer)
    if any(isinstance(result, PlatformError) for result in answer.results):
        info.deprecations = deprecated_use.deprecations_of(caller, wanted, call_id=info.request_id)
    deprecated_use.sample(caller, wanted, answer.results, client=info.client)
    answers = iter(answer.results)
    reply = pb.BatchPredictResponse(units=answer.units, request_id=info.request_id)
    for sent, item in zip(request.requests, parsed, strict=True):
        outcome = item if isinstance(item, PlatformError) else next(answers)
        item_id = sent.id or info.request_id
        reply.responses.append(
            messages.problem(outcome, sent, request_id=item_id)
            if isinstance(outcome, PlatformError)
            else messages.response(outcome, sent, request_id=item_id)
        )
    return reply


def _parsed(item: pb.PredictRequest, index: int, model: str) -> PredictRequest | PlatformError:
    try:
        return messages.parse(item, model=model, path=f"requests[{index}].")
    except PlatformError as problem:
        return problem
