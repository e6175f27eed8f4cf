"""The tables and figures of the two papers, made with faintsky: scripts, not part of the package.

``python -m reproduction.NAME`` from the root of the repository; results are tracked in its ``results``.
"""
