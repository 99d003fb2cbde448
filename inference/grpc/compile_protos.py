"""``python -m inference.grpc.compile_protos [folder]``: Python code of every proto of this package. Needs grpcio-tools."""

import re
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
PROTOS: Final = HERE / "protos"
GENERATED: Final = HERE / "generated"
_PACKAGE: Final = "inference.grpc.generated"


def compile_to(folder: Path) -> list[Path]:
    """Compile every proto into ``folder``; the files that were made. Raises RuntimeError with what protoc says."""
    from grpc_tools import protoc

    names = sorted(path.name for path in PROTOS.glob("*.proto"))
    well_known = resources.files("grpc_tools") / "_proto"
    places = [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", f"-I{PROTOS}", f"-I{well_known}", *places, *names]):
        raise RuntimeError("protoc refused the protos of inference/grpc/protos")
    made = [folder / f"{Path(name).stem}_{suffix}" for name in names for suffix in ("pb2.py", "pb2.pyi", "pb2_grpc.py")]
    for path in made:
        # protoc writes imports as if its output stood at the top of the path of modules.
        text = re.sub(r"^import (\w+_pb2) as", rf"from {_PACKAGE} import \1 as", path.read_text(), flags=re.MULTILINE)
        path.write_text(text)
    return made


def main(arguments: Sequence[str]) -> int:
    for path in compile_to(Path(arguments[0]) if arguments else GENERATED):
        print(path.name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
