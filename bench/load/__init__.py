"""Locust users to compare with, and the script that does it."""
