"""The door for tools that still call setup.py; everything about the project is in setup.cfg."""

from setuptools import setup

setup()
