"""What operators see of batches."""

from prometheus_client import Counter, Gauge, Histogram

from inference.types import ModelRef, metric_label

_sizes = Histogram("mlplatform_batch_size_inputs", "Inputs a batch.", ["model"], buckets=(1, 2, 4, 8, 16, 32, 64, 128))
_seconds = Histogram("mlplatform_batch_seconds", "From sending a batch to its reply.", ["model"])

resent = Counter("mlplatform_batches_resent_total", "Batches sent once more because no reply came in time.")
split = Counter(
    "mlplatform_batches_split_total", "Batches that were lost twice, so that each input was sent by itself."
)
failed = Counter("mlplatform_batches_failed_total", "Batches that ended without a result.", ["reason"])
queued = Gauge("mlplatform_batch_queue_inputs", "Inputs that wait for a batch.", multiprocess_mode="livesum")
refused = Counter("mlplatform_inputs_refused_total", "Inputs that were refused because too much waits.", ["reason"])


def of_model(ref: ModelRef) -> tuple[Histogram, Histogram]:
    """Where the sizes of the model's batches and their seconds are counted. To be kept, for finding them takes a lock."""
    label = metric_label(ref.qualified_name, private=ref.owner_id is not None)
    return _sizes.labels(label), _seconds.labels(label)
