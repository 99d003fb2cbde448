"""Installs two models that cost almost nothing, so that what is measured is the way to them and back.

``python -m bench.number_models``: ``narrow`` takes 8 numbers, ``wide`` 768. Their weights are random; the answers are not read.
"""

from pathlib import Path

import django

SHAPES = {"narrow": (2, 4), "wide": (24, 32)}
_CLASSES = 2
_CHANNELS = 1


def main() -> None:
    """Run in the product's environment, on its database and in its models folder."""
    django.setup()
    import torch
    from django.conf import settings

    from inference.models import MLModel
    from inference.registry import versions
    from inference.runtimes import training
    from inference.runtimes.tensor_classification import NETWORK, SmallNetwork

    torch.manual_seed(0)
    for name, (height, width) in SHAPES.items():
        folder = Path(settings.MODELS_DIR) / name / "1.0.0"
        folder.mkdir(parents=True)
        network = SmallNetwork(channels=(1, _CHANNELS), head=(_CHANNELS * height * width, _CLASSES))
        training.save(network, folder / NETWORK)
        version = versions.stage(
            model=MLModel.objects.create(name=name, title=f"{height * width} numbers"),
            version="1.0.0",
            artefact_path=f"{name}/1.0.0",
            runtime="tensor-classification",
            input_schema={"kind": "tensor", "dtype": "float32", "shape": [height, width]},
            output_schema={"kind": "classification"},
            labels=["no", "yes"],
            max_batch_size=64,
        )
        versions.mark_verified(version_id=version.pk, error="")
        versions.promote(version=version, before_workers=True)


if __name__ == "__main__":
    main()
