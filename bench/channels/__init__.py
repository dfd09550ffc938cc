"""`python -m bench.channels`: live rooms, Holdfast's beside its peers'."""
