"""Made by ``make protos`` from ``inference/grpc/protos``; not to be edited."""
