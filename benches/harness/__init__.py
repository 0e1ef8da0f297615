"""What `benches/run` is made of: data, measuring, reporting, and a file for each workload."""
