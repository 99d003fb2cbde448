from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PredictRequest(_message.Message):
    __slots__ = ("model_name", "features", "metadata", "text", "features_raw", "top_k", "id", "image", "text_pair", "truncate")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FEATURES_RAW_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    TEXT_PAIR_FIELD_NUMBER: _ClassVar[int]
    TRUNCATE_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    features: _containers.RepeatedScalarFieldContainer[float]
    metadata: _containers.ScalarMap[str, str]
    text: str
    features_raw: bytes
    top_k: int
    id: str
    image: bytes
    text_pair: str
    truncate: bool
    def __init__(self, model_name: _Optional[str] = ..., features: _Optional[_Iterable[float]] = ..., metadata: _Optional[_Mapping[str, str]] = ..., text: _Optional[str] = ..., features_raw: _Optional[bytes] = ..., top_k: _Optional[int] = ..., id: _Optional[str] = ..., image: _Optional[bytes] = ..., text_pair: _Optional[str] = ..., truncate: _Optional[bool] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("label", "score")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    label: str
    score: float
    def __init__(self, label: _Optional[str] = ..., score: _Optional[float] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("predictions", "model_version", "latency_ms", "embedding", "units", "cached", "age_s", "request_id", "model_name", "status", "id", "metadata", "deprecation", "truncated")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    AGE_S_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    DEPRECATION_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    predictions: _containers.RepeatedCompositeFieldContainer[Prediction]
    model_version: str
    latency_ms: float
    embedding: _containers.RepeatedScalarFieldContainer[float]
    units: int
    cached: bool
    age_s: int
    request_id: str
    model_name: str
    status: ItemStatus
    id: str
    metadata: _containers.ScalarMap[str, str]
    deprecation: Deprecation
    truncated: Truncation
    def __init__(self, predictions: _Optional[_Iterable[_Union[Prediction, _Mapping]]] = ..., model_version: _Optional[str] = ..., latency_ms: _Optional[float] = ..., embedding: _Optional[_Iterable[float]] = ..., units: _Optional[int] = ..., cached: _Optional[bool] = ..., age_s: _Optional[int] = ..., request_id: _Optional[str] = ..., model_name: _Optional[str] = ..., status: _Optional[_Union[ItemStatus, _Mapping]] = ..., id: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., deprecation: _Optional[_Union[Deprecation, _Mapping]] = ..., truncated: _Optional[_Union[Truncation, _Mapping]] = ...) -> None: ...

class Truncation(_message.Message):
    __slots__ = ("tokens", "max_tokens")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    tokens: int
    max_tokens: int
    def __init__(self, tokens: _Optional[int] = ..., max_tokens: _Optional[int] = ...) -> None: ...

class ItemStatus(_message.Message):
    __slots__ = ("code", "message", "reason", "field", "retry_after_s", "details")
    class DetailsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    reason: str
    field: str
    retry_after_s: float
    details: _containers.ScalarMap[str, str]
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., reason: _Optional[str] = ..., field: _Optional[str] = ..., retry_after_s: _Optional[float] = ..., details: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Deprecation(_message.Message):
    __slots__ = ("subject", "deprecated_at_s", "sunset_at_s", "successor", "guide")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    DEPRECATED_AT_S_FIELD_NUMBER: _ClassVar[int]
    SUNSET_AT_S_FIELD_NUMBER: _ClassVar[int]
    SUCCESSOR_FIELD_NUMBER: _ClassVar[int]
    GUIDE_FIELD_NUMBER: _ClassVar[int]
    subject: str
    deprecated_at_s: int
    sunset_at_s: int
    successor: str
    guide: str
    def __init__(self, subject: _Optional[str] = ..., deprecated_at_s: _Optional[int] = ..., sunset_at_s: _Optional[int] = ..., successor: _Optional[str] = ..., guide: _Optional[str] = ...) -> None: ...

class BatchPredictRequest(_message.Message):
    __slots__ = ("model_name", "requests")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    requests: _containers.RepeatedCompositeFieldContainer[PredictRequest]
    def __init__(self, model_name: _Optional[str] = ..., requests: _Optional[_Iterable[_Union[PredictRequest, _Mapping]]] = ...) -> None: ...

class BatchPredictResponse(_message.Message):
    __slots__ = ("responses", "units", "request_id")
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    responses: _containers.RepeatedCompositeFieldContainer[PredictResponse]
    units: int
    request_id: str
    def __init__(self, responses: _Optional[_Iterable[_Union[PredictResponse, _Mapping]]] = ..., units: _Optional[int] = ..., request_id: _Optional[str] = ...) -> None: ...
