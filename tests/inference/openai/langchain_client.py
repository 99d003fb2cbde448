"""LangChain's ``OpenAIEmbeddings``, unchanged, in the environment of the clients; see :mod:`tests.support.clients`.

Its arguments are the base address and the key. Each call is a list of texts for ``embed_documents``, or one text for
``embed_query``; it writes the vectors, or the client's error.
"""

import json
import sys
from typing import Any

from langchain_openai import OpenAIEmbeddings  # type: ignore[import-not-found]
from openai import OpenAIError


def main() -> None:
    # Without the length check LangChain sends text; with it, token numbers of a tokenizer that is not the model's.
    embeddings: Any = OpenAIEmbeddings(
        model="minilm", base_url=sys.argv[1], api_key=sys.argv[2], check_embedding_ctx_length=False, max_retries=0
    )
    said: list[Any] = []
    for call in json.load(sys.stdin):
        try:
            said.append(embeddings.embed_documents(call) if isinstance(call, list) else embeddings.embed_query(call))
        except OpenAIError as error:
            said.append({"error": str(error), "type": type(error).__name__})
    print(json.dumps(said))


if __name__ == "__main__":
    main()
