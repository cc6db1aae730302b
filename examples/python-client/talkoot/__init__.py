"""A client of Talkoot's statements, written from docs/spec and from nothing else.

It makes statements and judges them; it does not talk to a network. ``S6`` and the like are rules of
docs/spec/statements.md.
"""
