"""`python -m geventecho.loadtest`."""

from geventecho.loadtest.launch import main

main()
