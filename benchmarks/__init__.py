"""The product's speed beside a reference's, measured in turn in one run. `make bench` runs it."""
