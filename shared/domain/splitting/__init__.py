"""Splits a manuscript into chapters, and chapters into chunks.

`chapters` cuts the text at the headings that `chapter_evidence` chooses, `chunks` cuts a chapter into passages.

To find headings: `page` reads lines, `numerals` numbers; `headings` recognises a line that may be a heading,
`heading_search` looks at what stands around it. `contents` reads the table of contents, `title_places` finds its titles
in the book, which `title_keys` compares, and `listed` makes headings of them. `unmarked` is the last resort.
"""
