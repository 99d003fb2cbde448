"""The gRPC face: ml_inference.InferenceService, and what every gRPC call goes through."""
