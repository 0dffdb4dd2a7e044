"""Scores what the arms answered: metrics with intervals, the contrast named beforehand, and the report.

Plain data in, plain data out: no engine and no workspace is needed here.
"""
