"""`usage-rating explain` and `usage-rating trace`: how a published figure came about, and what became of a row.

A bill is worked out once more by the stages themselves, for its subscription, from the rows known in the run that
issued it (`rework`). What the stages made is then told step by step (`lines` and the modules it asks), and printed
(`text`). Nothing is written.
"""
