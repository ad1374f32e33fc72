"""Other Locust users, and the comparison of load generators."""
