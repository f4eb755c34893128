"""Imports a text file, shows it becoming a book, and searches in it.

    python watch.py my-novel.txt "who stole the letters?"

BINDERY_URL and BINDERY_TOKEN say where and as whom; the local stack needs no token.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bindery.client import Bindery

path, query = Path(sys.argv[1]), sys.argv[2]
with Bindery(os.environ["BINDERY_URL"], os.environ.get("BINDERY_TOKEN")) as bindery:
    book = bindery.import_book(path.read_text("utf-8"))
    for seen in bindery.watch(book["book_id"], version=book["version"]):
        print(f"{seen.state}: {seen.book['progress']} % {seen.book['phase']}" if seen.book else seen.state, flush=True)
    for hit in bindery.search(query, book_id=book["book_id"], k=3)["results"]:
        print(f"{hit['chapter_number']}. {hit['chapter_title']}: {hit['passage'][:80]}")
