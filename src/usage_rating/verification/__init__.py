"""A second implementation of the billing rules, from the input files' own rows, in exact fractions.

It shares nothing with the rest of the package: no reader, no card loader, no SQL. What both say alike was worked out
twice.
"""
