"""Draws a last line, once, on the terminal of standard error.

Arguments: the terminal's encoding; then optionally "held": the terminal takes no output meanwhile, as after Ctrl-S.
"""

from __future__ import annotations

import sys
import termios

from geventecho.loadtest.run.terminal import Terminal

encoding, *held = sys.argv[1:]
if held:
    termios.tcflow(2, termios.TCOOFF)
Terminal(2, encoding).draw(lambda columns, lines: ["\N{BOX DRAWINGS LIGHT HORIZONTAL} last"])
if held:
    termios.tcflow(2, termios.TCOON)
print("over:", encoding, *held)
