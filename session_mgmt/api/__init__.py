"""REST API: DRF views that call ``actions`` and ``writes``, and contain no rules. They use this app's own parser,
renderer and error responses.
"""
