"""Word lists: what says little of a sentence, and by what names are told from other words, people from places."""

from __future__ import annotations

SPEECH = frozenset(
    """
    added answered asked began blushed called continued cried declared exclaimed laughed murmured nodded observed
    rejoined repeated replied returned said shook sighed smiled spoke thought whispered
    """.split()  # noqa: SIM905 - a page of words, not a page of lines
)

VERBS = frozenset(
    """
    came could did felt found gave had has heard is knew looked made might must saw seemed should thought told
    took turned was went would
    """.split()  # noqa: SIM905 - a page of words, not a page of lines
)

AT = frozenset(
    """
    at from in into left near reach reached towards
    """.split()  # noqa: SIM905 - a page of words, not a page of lines
)

NEAR = frozenset(
    """
    left of quit quitting through to
    """.split()  # noqa: SIM905 - a page of words, not a page of lines
)

WITH = frozenset(
    """
    and dear poor with
    """.split()  # noqa: SIM905 - a page of words, not a page of lines
)

PLACE_WORDS = frozenset(
    """
    Abbey Bay Bridge Castle Church City Cottage Court Farm Forest Grove Hall Harbour Hill House Inn Island Lake
    Lakes Lane Lighthouse Lodge Manor Mill Mount Park Place Point Quay River Road Row Square Street Town Village
    Woods
    """.split()  # noqa: SIM905 - a page of words, not a page of lines
)

PLACE_ENDINGS = ("shire", "ford", "bury", "ville", "burgh")

NO_NAME = frozenset(
    """
    A After Ah All An And April As At August Aunt Before But By Captain Chapter Christmas Colonel Could Dear
    December Did Do Easter English Even Every Everything February For French Friday From God Good Had Has Have He
    Heaven Her Here His How I If In Indeed Is It January July June Lady Let Lord Madam Mama Mamma March May
    Michaelmas Miss Monday Mr Mrs My Never No Not Nothing November Now October Of Oh On One Only Or Our Papa Poor
    Pray Saturday September She Should Sir So Some Something Such Sunday That The Their Then There These They This
    Those Thursday To Tuesday Two Uncle Until Volume Was We Wednesday Well Were What When Where Which Who Why Will
    With Would Yes You Your
    """.split()  # noqa: SIM905 - a page of words, not a page of lines
)

STOP_WORDS = frozenset(
    """
    a about above after again against all am an and any are as at be because been before being below between both
    but by can cannot could did do does doing down during each ever every few first for from further great had has
    have having he her here hers herself him himself his how i if in into is it its itself know last little made
    may me might miss more most mr mrs much must my myself never no nor not of off on once one only or other ought
    our ours out over own said same shall she should so some soon such than that the their theirs them themselves
    then there these they think this those though through to too under until up upon very was we well were what
    when where which while who whom why will with without would yet you your yours
    """.split()  # noqa: SIM905 - a page of words, not a page of lines
)
