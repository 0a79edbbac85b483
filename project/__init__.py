"""Runnable Django project around session_mgmt: demo, development and a deployable example."""
