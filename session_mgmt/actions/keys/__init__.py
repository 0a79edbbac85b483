"""Encryption keys: which rows use them, rotation and verification."""
