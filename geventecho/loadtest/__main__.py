"""`python -m geventecho.loadtest`."""

from geventecho.loadtest.run.launch import main

main()
