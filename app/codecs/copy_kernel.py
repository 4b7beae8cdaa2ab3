"""Copying bytes by address, for the kernels that write."""

from typing import Any

from app.codecs.kernel import part
from app.codecs.words_kernel import load_byte, load_word, store_byte, store_word


@part
def put(position: Any, source: Any, length: Any) -> Any:
    """Copy bytes; gives the position after them."""
    end = source + length
    while source + 8 <= end:
        store_word(position, load_word(source))
        source += 8
        position += 8
    while source < end:
        store_byte(position, load_byte(source))
        source += 1
        position += 1
    return position
