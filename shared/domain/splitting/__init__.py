"""Splits a manuscript into chapters, and chapters into chunks.

`numerals` reads numbers; `headings` recognises a line that may head a chapter; `heading_search` finds such lines by
what stands around them; `chapter_evidence` decides which of them head the chapters of this book; `chapters` cuts the
text there; `chunks` cuts a chapter into passages.
"""
