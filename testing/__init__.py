"""What tests and benchmarks share and nobody installs: simulated runs and places, spoilt images, measures."""
