"""Sphinx configuration."""

import os
import sys
import tempfile
from pathlib import Path

# AiiDA's directives load entry points, which needs a configuration folder; an empty one will do.
os.environ['AIIDA_PATH'] = tempfile.mkdtemp()
sys.path.insert(0, str(Path(__file__).parent / '_ext'))

from aiida.manage.configuration import Profile, load_profile
from aiida.sphinxext import process as aiida_processes

from aiida_cgcnn_elastic import __version__

load_profile(
    Profile(
        'docs',
        {
            'storage': {'backend': 'core.sqlite_temp', 'config': {}},
            'process_control': {'backend': None, 'config': {}},
        },
    ),
    allow_switch=True,
)

# Every process has the same fifty inputs of metadata; `:hide-nondb-inputs:` does not know them by itself.
aiida_processes._is_non_db = lambda port: getattr(port, 'non_db', False) or getattr(port, 'is_metadata', False)

project = 'aiida-cgcnn-elastic'
author = 'The aiida-cgcnn-elastic developers'
copyright = f'2026, {author}'
release = version = __version__

extensions = [
    'aiida.sphinxext',
    'exit_codes',
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.autosummary',
    'sphinx.ext.mathjax',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
]
myst_enable_extensions = ['colon_fence', 'deflist', 'dollarmath']
myst_heading_anchors = 3
autodoc_typehints = 'description'
autodoc_member_order = 'bysource'
napoleon_numpy_docstring = True
napoleon_google_docstring = False
exclude_patterns = ['_build']
html_theme = 'furo'
html_static_path = ['_static']
html_css_files = ['wrapped.css']
html_title = f'aiida-cgcnn-elastic {release}'
