"""Sphinx's configuration. `make docs` builds the site from the Markdown of this folder and from docstrings."""

import os
import sys

# Locust patches the process for a load test. Sphinx has imported ssl by now, and a late patch would break it.
os.environ["LOCUST_SKIP_MONKEY_PATCH"] = "1"

import geventecho

# The commands of this environment, for the pages that show their help.
os.environ["PATH"] = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
os.environ["COLUMNS"] = "92"

project = "geventecho"
copyright = "the geventecho maintainers"
release = geventecho.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib.programoutput"]
myst_heading_anchors = 3
smartquotes = False  # they would turn the two dashes of an option into one

default_role = "code"  # docstrings mark code with single backticks
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"geventecho {release}"
html_copy_source = False
