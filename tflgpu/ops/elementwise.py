"""Element-wise operators: one output element from the input elements at its place."""
