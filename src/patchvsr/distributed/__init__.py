"""Restore the units of a job on the workers of a Ray cluster; `cluster.Cluster` is the place to begin."""
