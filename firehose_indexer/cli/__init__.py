"""The command line: verbs that load settings, call one door each, and print.

Data goes to stdout, talk to stderr. Nothing heavy is imported before a verb needs it.
"""
