"""The studies of the paper, for any model: what its parts, joint modes, patches and steps are worth, and their cost.

Every study is a function that yields rows; `studies.run` collects them into a table.
"""
